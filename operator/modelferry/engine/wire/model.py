"""The facts that a verdict is made from, and the verdict."""

from __future__ import annotations

from dataclasses import dataclass, field
from enum import Enum
from functools import lru_cache
from urllib.parse import urlsplit

from modelferry import __version__
from modelferry.errors import ServerMisbehaves, Stalled
from modelferry.manifest.urls import DEFAULT_PORTS, ascii_url, host_port, server_of
from modelferry.net.credentials import FORM


class ProtocolError(Exception):
    """The peer broke HTTP; ``row`` is the catalogue's, ``message`` the end of a sentence that begins with the place."""

    def __init__(self, row: int, message: str) -> None:
        super().__init__(message)
        self.row = row
        self.message = message


@dataclass(frozen=True, slots=True)
class Origin:
    """A server as a connection sees it."""

    scheme: str
    host: str
    port: int

    @classmethod
    def of(cls, url: str) -> Origin:
        """The origin of an absolute http or https `url`."""
        return _origin_of(url)

    @property
    def url(self) -> str:
        """Without a path."""
        return f"{self.scheme}://{self.authority}"

    @property
    def authority(self) -> str:
        """The Host field's value (RFC 9110 section 7.2)."""
        authority = host_port(self.host, self.port)
        return authority.removesuffix(f":{self.port}") if self.port == DEFAULT_PORTS[self.scheme] else authority


@lru_cache(maxsize=256)
def _origin_of(url: str) -> Origin:
    # Asked several times for each request, and told in a tenth of the time.
    url = ascii_url(url)
    return Origin(urlsplit(url).scheme, *server_of(url))


@dataclass(frozen=True, slots=True)
class Request:
    """GET of the bytes from `start` to `end` (exclusive) of `url`; of the whole file where `end` is None.

    ``fresh`` asks caches on the way to fetch anew: set after they handed out wrong bytes. ``fields``: what this URL's
    server wants to see besides; secrets may be among them. ``form``: is POSTed instead, URL-encoded, where it is not
    empty. ``absolute``: for a proxy that forwards it (RFC 9112 section 3.2.2).
    """

    url: str
    start: int = 0
    end: int | None = None
    fresh: bool = False
    fields: tuple[tuple[str, str], ...] = field(default=(), repr=False)
    form: bytes = field(default=b"", repr=False)
    absolute: bool = False

    def encode(self) -> bytes:
        """The request head as it goes on the wire. Built from nothing each time: a redirect inherits no field."""
        parts = urlsplit(ascii_url(self.url))
        target = (parts.path or "/") + (f"?{parts.query}" if parts.query else "")
        origin = Origin.of(self.url)
        lines = [
            f"{'POST' if self.form else 'GET'} {origin.url if self.absolute else ''}{target} HTTP/1.1",
            f"Host: {origin.authority}",
            f"User-Agent: modelferry/{__version__}",
            "Accept: */*",
            "Accept-Encoding: identity",
            "Want-Content-Digest: sha-256=10",  # RFC 9530 section 4
        ]
        if self.end is not None:
            lines.append(f"Range: bytes={self.start}-{self.end - 1}")
        if self.fresh:
            lines.append("Cache-Control: no-cache")
        lines += [f"{name}: {value}" for name, value in self.fields]
        if self.form:
            lines += [f"Content-Type: {FORM}", f"Content-Length: {len(self.form)}"]
        return "\r\n".join([*lines, "", ""]).encode("ascii") + self.form


@dataclass(frozen=True, slots=True)
class Head:
    """A response's status line and fields; names are lower case, values latin-1 without outer white space."""

    status: int
    version: tuple[int, int]
    fields: tuple[tuple[str, str], ...]

    def all(self, name: str) -> list[str]:
        """Every value of field `name`."""
        return [value for key, value in self.fields if key == name]

    def get(self, name: str) -> str | None:
        """The values of field `name` as one list, which RFC 9110 section 5.3 makes equal; None where there is none."""
        values = self.all(name)
        return ", ".join(values) if values else None


@dataclass(frozen=True, slots=True)
class Framing:
    """How a body ends: after ``length`` bytes, by chunked coding, or with the connection."""

    kind: str  # "length", "chunked" or "close"
    length: int = 0


@dataclass(frozen=True, slots=True)
class Expectation:
    """What is known of a file before a response comes.

    ``size``: declared length in bytes. ``pinned``: its digest is known. ``validator``: what this mirror's responses of
    this generation carried. ``resolved``: that validator is the manifest's own. ``alternatives``: there is another
    place.
    ``plain_http``: http:// is allowed. ``hops``: URLs that already redirected here.
    """

    size: int
    pinned: bool = True
    validator: str | None = None
    resolved: bool = False
    alternatives: bool = False
    plain_http: bool = False
    hops: tuple[str, ...] = ()


class Action(Enum):
    """What the fetcher does about a response."""

    TAKE = "take the content"
    STREAM = "fetch the file as one stream from 0"
    FOLLOW = "follow the redirect"
    RECONNECT = "ask again on a new connection"
    WAIT = "ask again when the server said, or after a backoff"
    SUSPECT = "discard; another place, or after a few strikes give up"
    REFUSE = "discard; another place, or give up"
    RESTART = "begin the file anew as a new generation"


@dataclass(frozen=True, slots=True)
class Verdict:
    """What a response is good for.

    ``row`` is the catalogue's (0: well behaved). For TAKE: ``start`` is the file offset of the content's first byte,
    ``length`` the bytes that it has, ``validator`` what to compare later responses with ("" for none that is strong),
    ``digest`` the SHA-256 that the server declares for the whole content. For the rest: ``message`` is the end of a
    sentence that begins with the place, ``fault`` the error it becomes where no place is left.
    """

    action: Action
    row: int = 0
    message: str = ""
    fault: type[Stalled] = ServerMisbehaves
    start: int = 0
    length: int = 0
    validator: str = ""
    digest: bytes | None = None
    framing: Framing = Framing("length")
    location: str = ""
    delay: float | None = None
