"""URLs: which ones are valid, how they are sent, and how they are shown without their secrets."""

from __future__ import annotations

from urllib.parse import quote, urlsplit

DEFAULT_PORTS = {"http": 80, "https": 443}


def redact_url(url: str) -> str:
    """`url` for a log, a status or an error: only scheme, host, port and path.

    Query, fragment and userinfo are dropped, because they may carry a signature, a token or a password.
    """
    try:
        parts = urlsplit(url)
        host = parts.hostname or ""
        port = f":{parts.port}" if parts.port else ""
    except ValueError:
        return "(a URL that cannot be read)"
    host = f"[{host}]" if ":" in host else host
    return f"{parts.scheme}://{host}{port}{parts.path}"


def server_of(url: str) -> tuple[str, int]:
    """The host in lower case and the port of an absolute http or https `url`."""
    parts = urlsplit(url)
    return parts.hostname or "", parts.port or DEFAULT_PORTS.get(parts.scheme, 0)


def host_port(host: str, port: int) -> str:
    """``host:port``, or ``[address]:port`` for an IPv6 address."""
    return f"[{host}]:{port}" if ":" in host else f"{host}:{port}"


def authority(url: str) -> str:
    """``host`` or ``host:port`` of `url` as written there, in lower case and without userinfo; empty if it has none."""
    return urlsplit(url).netloc.rpartition("@")[2].lower()


def url_error(url: str) -> str | None:
    """What is wrong with `url`, as the end of a sentence; None if it is valid. Plain http is valid here; whether it is
    allowed is checked elsewhere."""
    try:
        parts = urlsplit(url)
        port = parts.port
        ascii_url(url)
    except ValueError:
        # The library's message has parts of the URL, which may be a password.
        return "cannot be read: its host or port is not valid"
    if parts.scheme not in ("http", "https"):
        return "does not begin with https:// (or http://)"
    if not parts.hostname:
        return "names no host"
    if parts.username is not None or parts.password is not None:
        return "carries a user name or password"
    if port == 0:
        return "has port 0"
    if any(ord(letter) <= 32 or ord(letter) == 127 for letter in url):
        return "holds a space or control character; percent-encode it"
    return None


def ascii_url(url: str) -> str:
    """`url` as it is sent: without the fragment, and all ASCII (the host in IDNA, the rest percent-encoded UTF-8).

    ASCII characters are never changed, because the URL may be signed. Raises ValueError if the host cannot be encoded.
    """
    url, _, _ = url.partition("#")
    if url.isascii():
        return url
    parts = urlsplit(url)
    host = (parts.hostname or "").encode("idna").decode()
    host = f"[{host}]" if ":" in host else host
    address = host if parts.port is None else f"{host}:{parts.port}"
    rest = parts._replace(netloc=address)
    return quote(rest.geturl(), safe="".join(map(chr, range(33, 127))), errors="surrogateescape")
