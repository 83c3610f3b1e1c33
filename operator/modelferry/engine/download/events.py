"""A try as it runs, and what it may end as. A try that fails is a value, not an error, unless no further try could help
(the disk, the checkpoint)."""

from __future__ import annotations

from dataclasses import dataclass, field, replace

from modelferry.engine.checkpoint.api import CommitResult, VerifyResult
from modelferry.engine.download.file_download import FileDownload, LocationState
from modelferry.engine.download.range_task import RangeTask
from modelferry.engine.pacing import RateMeter, stream_meter
from modelferry.engine.response import Verdict
from modelferry.errors import Stalled
from modelferry.http.transport.response import Response
from modelferry.http.wire import Origin


@dataclass(slots=True)
class Attempt:
    """A try as it runs: ``received`` bytes of content that no row holds yet; ``origin`` and ``mirror`` are
    whom it asks, None and empty while nobody is asked.

    Of a part: ``at`` is the file offset of the next byte; ``end`` where it stops, which may be moved towards the
    beginning while it runs, since another one fetches the rest. ``seconds``: what it took to come. ``dropped``: it was
    given up for being slow. ``pipelined``: it is sent behind others. ``reported``: all of it came, and the checkpoint
    is asked to commit it. ``small``: its lease is. ``mirror`` is asked since clock reading ``begun``.
    """

    file: FileDownload
    origin: Origin | None = None
    mirror: str = ""
    begun: float = 0.0
    task: RangeTask | None = None
    received: int = 0
    at: int = 0
    end: int = 0
    seconds: float = 0.0
    meter: RateMeter = field(default_factory=stream_meter)
    dropped: bool = False
    reported: bool = False
    small: bool = False
    pipelined: bool = False
    answer: Response | None = None

    @classmethod
    def of(cls, file: FileDownload, task: RangeTask, location: LocationState) -> Attempt:
        """A try at `task`, asking `location`."""
        origin, mirror = Origin.of(location.url), location.mirror
        return cls(file, origin, mirror, task=task, at=task.start, end=task.end, small=task.small)

    @property
    def remaining(self) -> RangeTask:
        """Its task as it is now."""
        assert self.task is not None
        return replace(self.task, end=self.end)


@dataclass(frozen=True, slots=True)
class ChunkReported:
    """A chunk was handed to the checkpoint, which answered `receipt`."""

    task: RangeTask
    location: LocationState
    receipt: CommitResult


@dataclass(frozen=True, slots=True)
class PartWritten:
    """Part of a chunk is written, and others are still to come."""

    task: RangeTask
    location: LocationState


@dataclass(frozen=True, slots=True)
class VersionConflict:
    """What is being answered cannot be joined with what is there of the chunk (`Assembly.joins`)."""

    task: RangeTask
    location: LocationState


@dataclass(frozen=True, slots=True)
class AttemptFailed:
    """A try failed. The part is good up to file offset ``kept``; ``cause`` is the typed error behind the verdict, if
    any. ``dropped``: this side broke it off, since it was slow. Of a stream, ``progressed`` says that chunks were
    committed on the way."""

    task: RangeTask
    location: LocationState
    verdict: Verdict
    kept: int = 0
    cause: Stalled | None = None
    progressed: bool = False
    dropped: bool = False


@dataclass(frozen=True, slots=True)
class Requeued:
    """A request that was sent behind others got no answer, or one that may be another one's."""

    task: RangeTask
    location: LocationState


@dataclass(frozen=True, slots=True)
class StreamCompleted:
    """A stream came whole; ``stale``: the checkpoint did not want it, because it is of another generation."""

    task: RangeTask
    location: LocationState
    stale: bool


@dataclass(frozen=True, slots=True)
class DigestCompared:
    """All chunks of a file are committed, and the checkpoint says what their whole digest came to."""

    file: FileDownload
    finish: VerifyResult


@dataclass(frozen=True, slots=True)
class ProbeCompleted:
    """A mirror was asked for one byte; ``message`` says what was wrong, as the end of a sentence, or nothing."""

    mirror: str
    message: str = ""


#: What a try ends as.
Event = (
    ChunkReported
    | PartWritten
    | VersionConflict
    | AttemptFailed
    | Requeued
    | StreamCompleted
    | DigestCompared
    | ProbeCompleted
)
