"""A try as it runs, and what it may end as. A try that fails is a value, not an error, unless no further try could help
(the disk, the checkpoint)."""

from __future__ import annotations

from dataclasses import dataclass, field, replace

from modelferry.engine.checkpoint.api import Finish, Receipt
from modelferry.engine.pace import Meter
from modelferry.engine.plan import Lease
from modelferry.engine.transport.answer import Answer
from modelferry.engine.wire import Origin, Verdict
from modelferry.engine.work import FileWork, PlaceWork
from modelferry.errors import Stalled


@dataclass(slots=True)
class Transfer:
    """A try as it runs: ``received`` bytes of content that no row holds yet; ``origin`` and ``mirror`` are
    whom it asks, None and empty while nobody is asked.

    Of a part: ``at`` is the file offset of the next byte; ``end`` where it stops, which may be moved towards the
    beginning while it runs, since another one fetches the rest. ``seconds``: what it took to come. ``dropped``: it was
    given up for being slow. ``pipelined``: it is sent behind others. ``reported``: all of it came, and the checkpoint
    is asked to commit it. ``small``: its lease is. ``mirror`` is asked since clock reading ``begun``.
    """

    file: FileWork
    origin: Origin | None = None
    mirror: str = ""
    begun: float = 0.0
    lease: Lease | None = None
    received: int = 0
    at: int = 0
    end: int = 0
    seconds: float = 0.0
    meter: Meter = field(default_factory=Meter)
    dropped: bool = False
    reported: bool = False
    small: bool = False
    pipelined: bool = False
    answer: Answer | None = None

    @classmethod
    def of(cls, file: FileWork, lease: Lease, place: PlaceWork) -> Transfer:
        """A try at `lease`, asking `place`."""
        origin, mirror = Origin.of(place.place.url), place.place.mirror
        return cls(file, origin, mirror, lease=lease, at=lease.start, end=lease.end, small=lease.small)

    @property
    def lease_now(self) -> Lease:
        """Its task as it is now."""
        assert self.lease is not None
        return replace(self.lease, end=self.end)


@dataclass(frozen=True, slots=True)
class Landed:
    """A chunk was handed to the checkpoint, which answered `receipt`."""

    lease: Lease
    place: PlaceWork
    receipt: Receipt


@dataclass(frozen=True, slots=True)
class Arrived:
    """Part of a chunk is written, and others are still to come."""

    lease: Lease
    place: PlaceWork


@dataclass(frozen=True, slots=True)
class Mixed:
    """What is being answered cannot be joined with what is there of the chunk (`Assembly.joins`)."""

    lease: Lease
    place: PlaceWork


@dataclass(frozen=True, slots=True)
class Missed:
    """A try failed. The part is good up to file offset ``kept``; ``cause`` is the typed error behind the verdict, if
    any. ``dropped``: this side broke it off, since it was slow. Of a stream, ``progressed`` says that chunks were
    committed on the way."""

    lease: Lease
    place: PlaceWork
    verdict: Verdict
    kept: int = 0
    cause: Stalled | None = None
    progressed: bool = False
    dropped: bool = False


@dataclass(frozen=True, slots=True)
class Returned:
    """A request that was sent behind others got no answer, or one that may be another one's."""

    lease: Lease
    place: PlaceWork


@dataclass(frozen=True, slots=True)
class Streamed:
    """A stream came whole; ``stale``: the checkpoint did not want it, because it is of another generation."""

    lease: Lease
    place: PlaceWork
    stale: bool


@dataclass(frozen=True, slots=True)
class Finished:
    """All chunks of a file are committed, and the checkpoint says what their whole digest came to."""

    file: FileWork
    finish: Finish


@dataclass(frozen=True, slots=True)
class Probed:
    """A mirror was asked for one byte; ``message`` says what was wrong, as the end of a sentence, or nothing."""

    mirror: str
    message: str = ""


#: What a try ends as.
Event = Landed | Arrived | Mixed | Missed | Returned | Streamed | Finished | Probed
