"""The grammars of a proxy's URL and of a noProxy entry."""

from __future__ import annotations

import ipaddress
import re
from urllib.parse import urlsplit

#: The schemes of a proxy's URL and their default ports. socks5 and socks5h mean the same: the proxy always resolves the
#: names.
PORTS = {"http": 80, "https": 443, "socks5h": 1080, "socks5": 1080}

_NAME = re.compile(r"\*|\.?[A-Za-z0-9_]([A-Za-z0-9_.-]{0,251}[A-Za-z0-9_.])?")
_ENTRY = "must be a host, .domain, address, address/prefix or host:port"


def proxy_error(url: str) -> str | None:
    """What is wrong with `url` as a proxy's URL, as the end of a sentence; None if it is valid."""
    try:
        parts = urlsplit(url)
        port = parts.port
    except ValueError:
        return "cannot be read: its host or port is not valid"
    if parts.scheme not in PORTS:
        return "does not begin with http://, https:// or socks5h://"
    if "@" in url:
        return (
            "carries a user name or password; put them into a Secret with the keys username and password, and name it"
            " in auth.secretRef"
        )
    if not parts.hostname:
        return "names no host"
    if port == 0:
        return "has port 0"
    if parts.path.strip("/") or parts.query or parts.fragment:
        return "has a path; a proxy is a host and a port"
    if not url.isascii() or any(ord(letter) <= 32 or ord(letter) == 127 for letter in url):
        return "holds a space, a control character or a letter beyond ASCII"
    return None


def no_proxy_error(entry: str) -> str | None:
    """What is wrong with `entry` as an entry of noProxy, as the end of a sentence; None if it is valid."""
    if "/" in entry:
        try:
            ipaddress.ip_network(entry, strict=False)
        except ValueError:
            return f"{_ENTRY}, and {entry!r} is not an address range"
        return None
    host, port = split_port(entry)
    if not (is_address(host) or _NAME.fullmatch(host)) or not (port is None or 0 < port < 65536):
        return f"{_ENTRY}, not {entry!r}"
    return None


def split_port(entry: str) -> tuple[str, int | None]:
    """Split ``host:port`` or ``[address]:port``. The port is None if there is none, and -1 if it is not a number."""
    if is_address(entry):
        return entry, None
    host, colon, port = entry.rpartition(":")
    if not colon or entry.endswith("]"):
        return entry.strip("[]"), None
    return host.strip("[]"), int(port) if port.isascii() and port.isdigit() else -1


def is_address(host: str) -> bool:
    """Whether `host` is an IP address rather than a name."""
    try:
        ipaddress.ip_address(host)
    except ValueError:
        return False
    return True
