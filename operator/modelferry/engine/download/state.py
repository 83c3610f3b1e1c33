"""A download as it stands: what its decisions read and change. Only the fetcher's loop does, one decision at a time."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass, field

from modelferry.engine.download.file_download import ChunkAssembly, FileDownload, LocationState
from modelferry.engine.download.in_flight import InFlight
from modelferry.engine.download.range_task import RangeTask, TaskQueue, next_part
from modelferry.engine.download.transfer_stats import TransferStats
from modelferry.engine.mirrors.registry import MirrorRegistry
from modelferry.engine.pacing import MIN_PART, Load, ProgressDeadline
from modelferry.manifest import Chunk


@dataclass(slots=True)
class DownloadState:
    """``stats``: what was met with. ``retries``: tries that had to be made again. ``message``: what a person is told of
    the last trouble.
    """

    mirrors: MirrorRegistry
    budget: ProgressDeadline
    files: list[FileDownload] = field(default_factory=list)
    backlog: TaskQueue = field(default_factory=TaskQueue)
    in_flight: InFlight = field(default_factory=InFlight)
    stats: TransferStats = field(default_factory=TransferStats)
    retries: int = 0
    message: str = ""

    @property
    def whole(self) -> bool:
        """Every file is there, and right."""
        return all(file.verified for file in self.files)

    def file_of(self, task: RangeTask) -> FileDownload:
        """The file that `task` is part of."""
        return self.files[task.chunk.file]

    def progress(self, now: float) -> None:
        """Bytes were kept: patience begins anew."""
        self.budget = self.budget.record_progress(now)
        self.message = ""

    def next(self, now: float, *, share: bool = True) -> tuple[RangeTask, LocationState] | None:
        """What an idle connection fetches, and from where: the next part; where all are being fetched, half of the
        slowest one, if it may `share` that."""
        loads = self.in_flight.loads
        several = len(self.mirrors.known) > 1
        self.mirrors.update_load(loads, self._due() if several else {})
        if not self.mirrors.room:
            return None
        load = sum(loads.values(), Load())
        taken = self._taken(now, load, fair=True) if several else None
        taken = taken or self._taken(now, load, fair=False)
        if taken is None:
            busy = len(self.backlog) or self.mirrors.paused or not share
            return None if busy else self._share(now)
        task, location = taken
        work = self.mirrors.mirror(location)
        part, rest = next_part(work.concurrency, task, self.backlog.bytes)
        if rest is not None:
            self.backlog.push(rest, now)
        return part, location

    def _taken(self, now: float, load: Load, *, fair: bool) -> tuple[RangeTask, LocationState] | None:
        """The first lease that there is a place for, out of the backlog; ``fair`` as in `MirrorRegistry.place_for`."""
        asks = self.in_flight.by_origin()
        found: list[LocationState] = []

        def may(task: RangeTask) -> bool:
            location = self.mirrors.location_for(self.file_of(task), task, self.backlog.bytes, asks, fair=fair)
            found.extend([location] if location is not None else [])
            return location is not None

        task = self.backlog.pop(now, may, small=load.prefers_small, crowded=load.has_enough_small)
        return (task, found[-1]) if task is not None else None

    def _share(self, now: float) -> tuple[RangeTask, LocationState] | None:
        """Half of a slow part, from the mirror that the other half comes from."""
        for name, work in self.mirrors.known.items():
            if self.mirrors.has_room(work) and (task := self.in_flight.share(name, work.concurrency, now)):
                return task, next(location for location in self.file_of(task).locations if location.mirror == name)
        return None

    def slow_chunks(self) -> list[tuple[FileDownload, ChunkAssembly]]:
        """Chunks that a slow mirror holds up at the end, while others have nothing to do."""
        if self.mirrors.running.total() >= self.mirrors.connections or len(self.mirrors.known) < 2:
            return []
        if any(task.chunk.index not in self.file_of(task).assemblies for task in self.backlog):
            return []  # there is a chunk that nobody has begun
        coming = self._coming()
        return [
            (file, assembly)
            for file in self.files
            for assembly in file.assemblies.values()
            if self.mirrors.too_slow(file, assembly, coming[assembly.chunk])
        ]

    def _due(self) -> Counter[str]:
        """Bytes of begun chunks that are still to come, by mirror. Of files at work alone: there may be thousands."""
        coming, due = self._coming(), Counter[str]()
        for file in {attempt.file.number: attempt.file for attempt in self.in_flight.tasks.values()}.values():
            for assembly in file.assemblies.values():
                due[assembly.mirror] += assembly.chunk.size - assembly.held - coming[assembly.chunk]
        return due

    def _coming(self) -> Counter[Chunk]:
        """Bytes of begun chunks that came and are not held yet."""
        coming: Counter[Chunk] = Counter()
        for attempt in self.in_flight.tasks.values():
            if attempt.task is not None and not attempt.task.stream:
                coming[attempt.task.chunk] += attempt.received
        return coming

    @property
    def requests(self) -> int:
        """About as many as could be sent at once."""
        return len(self.backlog) + self.backlog.bytes // MIN_PART

    def times(self) -> list[float]:
        """Clock readings at which something may be fetched that may not be fetched yet."""
        ready = self.backlog.next_ready()
        return [*self.mirrors.paused.values(), *([] if ready is None else [ready]), *self.mirrors.probe_times()]
