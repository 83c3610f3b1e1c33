"""An attempt: what is assigned to it, and what it is like while it runs."""

from __future__ import annotations

from dataclasses import dataclass, field, replace

from modelferry.engine.download.file_download import FileDownload, LocationState
from modelferry.engine.download.tasks import RangeTask, StreamTask, Task
from modelferry.engine.pacing import RateMeter, stream_meter
from modelferry.http.transport.connection_key import Timeouts
from modelferry.http.transport.response import Response
from modelferry.http.wire import Origin


@dataclass(slots=True, eq=False)
class Attempt:
    """An attempt at `task`; ``begun`` at that clock reading. ``origin`` and ``mirror``: the server that it loads; None
    and empty for a probe or a digest. ``received``: bytes of content that no row in chunks.db has yet.

    Of a range: ``at`` is the file offset of the next byte; ``end`` where it stops, which moves towards the beginning
    when another attempt takes over the rest. ``seconds``: how long it took to arrive. ``dropped``: it was given up for
    being slow. ``cancelled``: its outcome does not matter any more. ``pipelined``: the request is sent behind others.
    ``reported``: all of it arrived, and the checkpoint is to commit it. ``small``: its task is. ``response``: what is
    being read. ``timeouts``: of its server; ``measured_from``: when a response that has not begun counts as slow.
    """

    file: FileDownload
    task: Task
    location: LocationState | None = None
    begun: float = 0.0
    mirror: str = ""
    origin: Origin | None = None
    received: int = 0
    at: int = 0
    end: int = 0
    seconds: float = 0.0
    meter: RateMeter = field(default_factory=stream_meter)
    dropped: bool = False
    cancelled: bool = False
    reported: bool = False
    small: bool = False
    pipelined: bool = False
    response: Response | None = None
    timeouts: Timeouts | None = None
    measured_from: float = 0.0

    @classmethod
    def of(
        cls, file: FileDownload, task: RangeTask | StreamTask, location: LocationState, begun: float = 0.0
    ) -> Attempt:
        """An attempt that fetches from `location`."""
        start, end = (task.start, task.end) if isinstance(task, RangeTask) else (0, task.size)
        load = (location.mirror, location.origin)
        return cls(file, task, location, begun, *load, at=start, end=end, small=task.small)

    @property
    def range(self) -> RangeTask | None:
        """Its task as it is now, if it is a range."""
        if not isinstance(self.task, RangeTask):
            return None
        return self.task if self.task.end == self.end else replace(self.task, end=self.end)

    @property
    def remaining(self) -> RangeTask | StreamTask:
        """Its task as it is now; a stream has no parts."""
        assert isinstance(self.task, RangeTask | StreamTask)
        return self.range or self.task

    @property
    def source(self) -> LocationState:
        """Where it fetches from; only a digest has none."""
        assert self.location is not None
        return self.location


@dataclass(frozen=True, slots=True)
class Assignment:
    """``task`` is fetched from ``location`` next. It is the first part of ``queued``, of which ``rest`` stays in the
    queue; or what ``donor``, a running attempt, would have fetched last."""

    task: RangeTask | StreamTask
    location: LocationState
    queued: RangeTask | StreamTask | None = None
    rest: RangeTask | None = None
    donor: Attempt | None = None
