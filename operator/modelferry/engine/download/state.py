"""The state of a download. Only `OutcomeHandler.apply` changes it; the scheduler and the attempts read it."""

from __future__ import annotations

from dataclasses import dataclass, field
from enum import StrEnum

from modelferry.engine.download.file_download import FileDownload
from modelferry.engine.download.in_flight import InFlight
from modelferry.engine.download.task_queue import TaskQueue
from modelferry.engine.download.transfer_stats import TransferStats
from modelferry.engine.mirrors import MirrorRegistry
from modelferry.engine.pacing import ProgressDeadline


class Phase(StrEnum):
    """What a download does, for people."""

    FETCHING = "fetching"
    REPAIRING = "repairing"
    PAUSED = "paused"


@dataclass(slots=True)
class DownloadState:
    """``deadline``: when to give up for want of progress. ``stats``: server behaviors and attempts. ``retries``:
    attempts that had to be repeated. ``message``: the last problem, for people."""

    mirrors: MirrorRegistry
    deadline: ProgressDeadline
    files: list[FileDownload] = field(default_factory=list)
    queue: TaskQueue = field(default_factory=TaskQueue)
    in_flight: InFlight = field(default_factory=InFlight)
    stats: TransferStats = field(default_factory=TransferStats)
    retries: int = 0
    message: str = ""

    @property
    def complete(self) -> bool:
        """Is every file verified?"""
        return all(file.verified for file in self.files)

    @property
    def repairing(self) -> bool:
        """Are chunks fetched again, since the digest of their file differed?"""
        return any(file.compared is not None and not file.verified for file in self.files)

    @property
    def wake_times(self) -> list[float]:
        """Clock readings at which something may be fetched that may not be fetched yet."""
        ready = self.queue.next_ready()
        return [*self.mirrors.paused.values(), *([] if ready is None else [ready]), *self.mirrors.probe_times()]

    def record_progress(self, now: float) -> None:
        """Bytes were kept."""
        self.deadline = self.deadline.record_progress(now)
        self.message = ""
