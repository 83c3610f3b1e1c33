"""A download as it stands: what its decisions read and change. Only the fetcher's loop does, one decision at a time."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass, field

from modelferry.engine.download.file_download import ChunkAssembly, FileDownload, LocationState
from modelferry.engine.download.in_flight import InFlight
from modelferry.engine.download.range_task import RangeTask, TaskQueue, next_part
from modelferry.engine.download.transfer_stats import TransferStats
from modelferry.engine.mirrors import MirrorRegistry, MirrorSelector
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
        several = len(self.mirrors.states) > 1
        self.mirrors.update_load(loads, self._due() if several else {})
        selector = self.mirrors.selector()
        if not selector.has_capacity:
            return None
        load = sum(loads.values(), Load())
        taken = self._taken(selector, now, load, fair=True) if several else None
        taken = taken or self._taken(selector, now, load, fair=False)
        if taken is None:
            busy = len(self.backlog) or self.mirrors.paused or not share
            return None if busy else self._share(selector, now)
        task, location = taken
        part, rest = next_part(self.mirrors.states[location.mirror].concurrency, task, self.backlog.bytes)
        if rest is not None:
            self.backlog.push(rest, now)
        return part, location

    def _taken(
        self, selector: MirrorSelector, now: float, load: Load, *, fair: bool
    ) -> tuple[RangeTask, LocationState] | None:
        """The first task that there is a location for, out of the backlog; ``fair`` as in `MirrorSelector.select`."""
        asks = self.in_flight.by_origin()
        found: list[str] = []

        def may(task: RangeTask) -> bool:
            request = self.file_of(task).selection_request(task)
            mirror = selector.select(request, self.backlog.bytes, asks, fair=fair)
            found.extend([mirror] if mirror is not None else [])
            return mirror is not None

        task = self.backlog.pop(now, may, small=load.prefers_small, crowded=load.has_enough_small)
        return (task, self.file_of(task).at_mirror(found[-1])) if task is not None else None

    def _share(self, selector: MirrorSelector, now: float) -> tuple[RangeTask, LocationState] | None:
        """Half of a slow part, from the mirror that the other half comes from."""
        for name, mirror in selector.mirrors.items():
            if mirror.has_capacity and (task := self.in_flight.share(name, mirror.concurrency, now)):
                return task, next(location for location in self.file_of(task).locations if location.mirror == name)
        return None

    def slow_chunks(self) -> list[tuple[FileDownload, ChunkAssembly]]:
        """Chunks that a slow mirror holds up at the end, while others have nothing to do."""
        selector = self.mirrors.selector()
        if selector.running >= selector.limits.connections or len(selector.mirrors) < 2:
            return []
        if any(task.chunk.index not in self.file_of(task).assemblies for task in self.backlog):
            return []  # there is a chunk that nobody has begun
        coming = self._coming()
        return [
            (file, assembly)
            for file in self.files
            for assembly in file.assemblies.values()
            if _should_reassign(selector, file, assembly, coming[assembly.chunk])
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


def _should_reassign(selector: MirrorSelector, file: FileDownload, assembly: ChunkAssembly, coming: int) -> bool:
    """Would another mirror deliver all of a chunk sooner than the one that has begun it? ``coming``: bytes of it that
    arrived and are not held yet."""
    if assembly.mirror not in selector.mirrors or file.entry.digest is None or file.suspect:
        return False
    chunks = sum(one.mirror == assembly.mirror for one in file.assemblies.values())
    size, left = assembly.chunk.size, assembly.chunk.size - assembly.held - coming
    return selector.should_reassign(file.options, assembly.mirror, chunks, size, left)
