"""What a response is judged by, and the verdict on it."""

from __future__ import annotations

from dataclasses import dataclass
from enum import Enum

from modelferry.errors import ServerMisbehaves, Stalled
from modelferry.http.wire import Framing, ServerBehavior

_BY_LENGTH = Framing("length")


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

    ``behavior`` is what the server did. For TAKE: ``start`` is the file offset of the content's first byte,
    ``length`` the bytes that it has, ``validator`` what to compare later responses with ("" for none that is strong),
    ``digest`` the SHA-256 that the server declares for the whole content. For the rest: ``message`` is the end of a
    sentence that begins with the place, ``fault`` the error it becomes where no place is left.
    """

    action: Action
    behavior: ServerBehavior = ServerBehavior.WELL_BEHAVED
    message: str = ""
    fault: type[Stalled] = ServerMisbehaves
    start: int = 0
    length: int = 0
    validator: str = ""
    digest: bytes | None = None
    framing: Framing = _BY_LENGTH
    location: str = ""
    delay: float | None = None
