"""URLs as a person may see them: without query, fragment and userinfo, which is where secrets travel."""

from __future__ import annotations

from urllib.parse import quote, urlsplit

DEFAULT_PORTS = {"http": 80, "https": 443}


def redact_url(url: str) -> str:
    """`url` for a log, a status or an error: scheme, host, port and path alone."""
    try:
        parts = urlsplit(url)
        host = parts.hostname or ""
        port = f":{parts.port}" if parts.port else ""
    except ValueError:
        return "(a URL that cannot be read)"
    host = f"[{host}]" if ":" in host else host
    return f"{parts.scheme}://{host}{port}{parts.path}"


def server_of(url: str) -> tuple[str, int]:
    """The host, in lower case, and the port that an absolute http or https `url` is asked at."""
    parts = urlsplit(url)
    return parts.hostname or "", parts.port or DEFAULT_PORTS.get(parts.scheme, 0)


def host_port(host: str, port: int) -> str:
    """Both as one: ``host:port`` or ``[address]:port``."""
    return f"[{host}]:{port}" if ":" in host else f"{host}:{port}"


def url_error(url: str) -> str | None:
    """What keeps `url` from being fetched, as the end of a sentence, or None. Plain http is judged elsewhere."""
    try:
        parts = urlsplit(url)
        port = parts.port
        ascii_url(url)
    except ValueError as error:
        return f"cannot be read: {error}"
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
    """`url` as it goes over the wire: no fragment, and all ASCII (the host in IDNA, the rest percent-encoded UTF-8).

    What is ASCII already stays to the letter, for it may be signed. Raises ValueError where the host cannot be spelt.
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
