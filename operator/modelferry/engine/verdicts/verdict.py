"""What a response is judged by, and the verdict on it."""

from __future__ import annotations

from dataclasses import dataclass
from enum import Enum

from modelferry.errors import ServerMisbehaves, Stalled
from modelferry.http.wire import Framing, ServerBehavior

_BY_LENGTH = Framing("length")


@dataclass(frozen=True, slots=True)
class Expectation:
    """What is known of a file before a response arrives.

    ``size``: declared length in bytes. ``pinned``: its digest is known. ``validator``: of this mirror's responses for
    this generation. ``mark``: what told the version that was resolved from others (`version_mark`); empty if nothing
    did. ``alternatives``: another location, or another connection to this one, may have the known version.
    ``plain_http``: http:// is allowed. ``hops``: URLs that redirected here.
    """

    size: int
    pinned: bool = True
    validator: str | None = None
    mark: str = ""
    alternatives: bool = False
    plain_http: bool = False
    hops: tuple[str, ...] = ()


class Action(Enum):
    """What the download does about a response."""

    TAKE = "take the content"
    STREAM = "fetch the file as one stream from 0"
    FOLLOW = "follow the redirect"
    RECONNECT = "send the request again on a new connection"
    WAIT = "retry when the server says, or after a backoff"
    SUSPECT = "discard; another location, or after a few strikes give up"
    REFUSE = "discard; another location, or give up"
    RESTART = "restart the file as a new generation"


@dataclass(frozen=True, slots=True)
class Verdict:
    """What a response is good for.

    ``behavior`` is what the server did. For TAKE: ``start`` is the file offset of the content's first byte,
    ``length`` the bytes that it has, ``validator`` what to compare later responses with ("" for none that is strong),
    ``digest`` the SHA-256 that the server declares for the entire content. For the rest: ``message`` is the end of a
    sentence that begins with the location, ``error`` what it becomes if no location is left.
    """

    action: Action
    behavior: ServerBehavior = ServerBehavior.WELL_BEHAVED
    message: str = ""
    error: type[Stalled] = ServerMisbehaves
    start: int = 0
    length: int = 0
    validator: str = ""
    digest: bytes | None = None
    framing: Framing = _BY_LENGTH
    location: str = ""
    delay: float | None = None
