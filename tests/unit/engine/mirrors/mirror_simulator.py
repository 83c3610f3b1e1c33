"""Several mirrors over simulated lines, driven by the fetcher's own decisions (`engine.servers`, `engine.pace`).

A mirror's streams share its capacity evenly; a request costs a round trip (a new connection three), and a stream may be
limited to `cap`. Slow start is left out: tests/unit/engine/pacing/path_simulator.py has it.
"""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass, field, replace
from math import inf

from modelferry.engine.checkpoint.api import OpenedFile
from modelferry.engine.download.file_download import FileDownload, LocationState
from modelferry.engine.download.task_queue import TaskQueue
from modelferry.engine.download.tasks import FetchTask, RangeTask, next_part
from modelferry.engine.download.transitions import ChunkEvent
from modelferry.engine.mirrors import Mirror
from modelferry.engine.mirrors.registry import MirrorRegistry
from modelferry.manifest import Digest, FileEntry, Location, chunk_count
from unit.engine.task_queue_use import pop


@dataclass(frozen=True, slots=True)
class Line:
    """``capacity`` and ``cap`` of one stream in bytes per second, ``rtt`` in seconds."""

    capacity: float
    rtt: float = 0.03
    cap: float = inf


@dataclass(slots=True, eq=False)
class _Try:
    task: RangeTask
    location: LocationState
    began: float
    first_byte: float
    at: float


@dataclass(slots=True)
class Race:
    """One file of `size` bytes from `lines` by name, all of one priority. After `run`: ``seconds``, what each
    brought, and the bytes of parts that were ``wasted``."""

    lines: dict[str, Line]
    size: int
    connections: int = 16
    step: float = 0.02
    seconds: float = 0.0
    brought: Counter[str] = field(default_factory=Counter)
    wasted: int = 0

    def run(self) -> Race:
        """The whole of it."""
        locations = tuple(Location(f"https://{name}/a", name) for name in self.lines)
        entry = FileEntry("a", self.size, Digest("md5", "0" * 32), locations)
        file = FileDownload.of(0, entry, OpenedFile(0, False, tuple(range(chunk_count(self.size)))))
        servers = MirrorRegistry.of(self.connections, [Mirror(name, 0) for name in self.lines])
        servers.meet(file.locations, 0.0)
        backlog, tries, met = TaskQueue(), list[_Try](), set[str]()
        for chunk in file.chunks:
            backlog.push(RangeTask.of(chunk))
        now, received = 0.0, Counter[str]()
        while file.missing:
            servers.running = Counter(one.location.location.mirror for one in tries)
            while len(tries) < self.connections and (found := self._next(servers, backlog, file, now, tries)):
                task, location = found
                name = location.location.mirror
                file.advance_chunk(task.chunk.index, ChunkEvent.STARTED)
                file.assemblies[task.chunk.index].mirror = name
                first = now + self.lines[name].rtt * (1 if name in met else 3)
                tries.append(_Try(task, location, now, first, task.start))
                servers.running[name] += 1
            servers.observe(now, received)
            now += self.step
            for name, line in self.lines.items():
                flowing = [one for one in tries if one.location.location.mirror == name and one.first_byte <= now]
                for one in flowing:
                    if one.at == one.task.start:
                        met.add(name)
                        servers.answered(one.location, now, line.rtt)
                    rate = min(line.capacity / len(flowing), line.cap)
                    got = min(rate * self.step, one.task.end - one.at)
                    one.at += got
                    received[name] += got  # type: ignore[assignment]
                    if one.at >= one.task.end:
                        tries.remove(one)
                        self._held(file, one.task)
                        self.brought[name] += one.task.size
                        servers.brought(name, now, one.task.size, now - one.began)
                        servers.delivered(one.location)
            self._rescue(servers, backlog, file, tries)
            assert now < 1e5, "it never ends"
        self.seconds = now
        return self

    def _held(self, file: FileDownload, task: RangeTask) -> None:
        index = task.chunk.index
        last = file.assemblies[index].held + task.size == task.chunk.size
        file.advance_chunk(index, ChunkEvent.LAST_PART_WRITTEN if last else ChunkEvent.PART_WRITTEN, task.size)
        if last:
            file.advance_chunk(index, ChunkEvent.COMMITTED)

    def _rescue(self, servers: MirrorRegistry, backlog: TaskQueue, file: FileDownload, tries: list[_Try]) -> None:
        """As scheduler.slow_chunks and FileStateMachine.reassign."""
        if len(tries) >= self.connections or any(task.order[1] not in file.assemblies for task in backlog):
            return
        servers.running = Counter(one.location.location.mirror for one in tries)
        for assembly in list(file.assemblies.values()):
            mine = [one for one in tries if one.task.chunk == assembly.chunk]
            if servers.too_slow(file, assembly, int(sum(one.at - one.task.start for one in mine))):
                for one in mine:
                    tries.remove(one)
                backlog.drop_chunk(assembly.chunk)
                file.advance_chunk(assembly.chunk.index, ChunkEvent.WITHDRAWN)
                self.wasted += assembly.held
                backlog.push(replace(RangeTask.again(assembly.chunk), failures=1, avoid=assembly.mirror))

    @property
    def rate(self) -> float:
        """Bytes per second of the whole."""
        return self.size / self.seconds

    def _due(self, file: FileDownload, tries: list[_Try]) -> Counter[str]:
        """As scheduler.due_bytes."""
        due = Counter[str]()
        for assembly in file.assemblies.values():
            due[assembly.mirror] += assembly.chunk.size - assembly.held
        for one in tries:
            due[one.location.location.mirror] -= int(one.at - one.task.start)
        return due

    def _next(
        self, servers: MirrorRegistry, backlog: TaskQueue, file: FileDownload, now: float, tries: list[_Try]
    ) -> tuple[RangeTask, LocationState] | None:
        servers.due = self._due(file, tries)
        if not servers.room:
            return None
        asks = Counter(one.location.origin for one in tries)

        def taken(*, fair: bool) -> tuple[RangeTask, LocationState] | None:
            found: list[LocationState] = []

            def may(task: FetchTask) -> bool:
                location = servers.location_for(file, task, backlog.bytes, asks, fair=fair)
                found.extend([location] if location is not None else [])
                return location is not None

            task = pop(backlog, now, may)
            return (task, found[-1]) if task is not None else None

        if (both := taken(fair=True) or taken(fair=False)) is None:
            return None
        task, location = both
        part, rest = next_part(servers.mirror(location).concurrency, task, backlog.bytes)
        if rest is not None:
            backlog.push(rest)
        return part, location
