"""A request, and the origin that it goes to."""

from __future__ import annotations

from dataclasses import dataclass, field
from functools import lru_cache
from urllib.parse import urlsplit

from modelferry import __version__
from modelferry.http.auth.credentials import FORM_TYPE, HeaderFields
from modelferry.values.urls import DEFAULT_PORTS, ascii_url, host_port, server_of


@dataclass(frozen=True, slots=True)
class Origin:
    """A server: scheme, host and port."""

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
    # Needed several times for each request; the cache takes a tenth of the time.
    url = ascii_url(url)
    return Origin(urlsplit(url).scheme, *server_of(url))


@dataclass(frozen=True, slots=True)
class Request:
    """A request for `url`: for the bytes from `start` to `end` (exclusive), or for all of it where `end` is None.

    ``fresh`` asks caches on the way to fetch it again: set after they served corrupt data. ``method``: GET, HEAD or
    POST. ``fields``: further header fields; one called Accept replaces the default. ``credential``: the fields that
    authenticate the request, and those that the spec adds; one called User-Agent replaces the default. ``form``: the
    body of a POST, URL-encoded. ``absolute``: in absolute form, for a proxy that forwards it (RFC 9112 section 3.2.2).
    """

    url: str
    start: int = 0
    end: int | None = None
    fresh: bool = False
    method: str = "GET"
    fields: HeaderFields = field(default=(), repr=False)
    credential: HeaderFields = field(default=(), repr=False)
    form: bytes = field(default=b"", repr=False)
    absolute: bool = False

    def encode(self) -> bytes:
        """The request as it is sent. Built from nothing each time: a redirect inherits no field."""
        parts = urlsplit(ascii_url(self.url))
        target = (parts.path or "/") + (f"?{parts.query}" if parts.query else "")
        origin = Origin.of(self.url)
        lines = [
            f"{self.method} {origin.url if self.absolute else ''}{target} HTTP/1.1",
            f"Host: {origin.authority}",
            "Accept-Encoding: identity",
            "Want-Content-Digest: sha-256=10",  # RFC 9530 section 4
        ]
        if not any(name.lower() == "user-agent" for name, _ in self.credential):
            lines.append(f"User-Agent: modelferry/{__version__}")
        if not any(name == "Accept" for name, _ in self.fields):
            lines.append("Accept: */*")
        if self.end is not None:
            lines.append(f"Range: bytes={self.start}-{self.end - 1}")
        if self.fresh:
            lines.append("Cache-Control: no-cache")
        lines += [f"{name}: {value}" for name, value in (*self.fields, *self.credential)]
        if self.form:
            lines += [f"Content-Type: {FORM_TYPE}", f"Content-Length: {len(self.form)}"]
        return "\r\n".join([*lines, "", ""]).encode("ascii") + self.form
