"""Several mirrors over simulated network paths, driven by the download's own decisions (`engine.mirrors`,
`engine.pacing`).

A mirror's streams share its capacity evenly; a request costs a round trip (a new connection three), and a stream may be
limited to `cap`. Slow start is left out: tests/unit/engine/pacing/path_simulator.py has it.
"""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass, field, replace
from math import inf

from modelferry.checkpoint.api import OpenedFile
from modelferry.engine.download.file_download import ChunkAssembly, FileDownload, LocationState
from modelferry.engine.download.task_queue import TaskQueue
from modelferry.engine.download.tasks import FetchTask, RangeTask, next_part
from modelferry.engine.download.transitions import ChunkEvent
from modelferry.engine.mirrors import Mirror, MirrorRegistry, MirrorSelector
from modelferry.engine.pacing import Load
from modelferry.manifest import Digest, FileEntry, Location, chunk_count
from unit.engine.download.task_queue_use import pop


@dataclass(frozen=True, slots=True)
class Path:
    """A network path. ``capacity`` and ``cap`` of one stream in bytes per second, ``rtt`` in seconds."""

    capacity: float
    rtt: float = 0.03
    cap: float = inf


@dataclass(slots=True, eq=False)
class _Attempt:
    task: RangeTask
    location: LocationState
    began: float
    first_byte: float
    at: float


@dataclass(slots=True)
class Race:
    """One file of `size` bytes over `paths` by mirror, all of one priority. After `run`: ``seconds``, what each
    mirror ``delivered``, and the bytes of parts that were ``wasted``."""

    paths: dict[str, Path]
    size: int
    connections: int = 16
    step: float = 0.02
    seconds: float = 0.0
    delivered: Counter[str] = field(default_factory=Counter)
    wasted: int = 0

    def run(self) -> Race:
        """Run it to its end."""
        locations = tuple(Location(f"https://{name}/a", name) for name in self.paths)
        entry = FileEntry("a", self.size, Digest("md5", "0" * 32), locations)
        file = FileDownload.of(0, entry, OpenedFile(0, False, tuple(range(chunk_count(self.size)))))
        registry = MirrorRegistry.of(self.connections, [Mirror(name, 0) for name in self.paths])
        for location in file.locations:
            registry.register(location.mirror, location.origin, 0.0)
        queue, attempts, connected = TaskQueue(), list[_Attempt](), set[str]()
        for chunk in file.chunks:
            queue.push(RangeTask.of(chunk))
        now, received = 0.0, Counter[str]()
        while file.missing:
            _update_load(registry, attempts)
            while len(attempts) < self.connections and (found := self._next(registry, queue, file, now, attempts)):
                task, location = found
                name = location.mirror
                file.advance_chunk(task.chunk.index, ChunkEvent.STARTED)
                file.assemblies[task.chunk.index].mirror = name
                first = now + self.paths[name].rtt * (1 if name in connected else 3)
                attempts.append(_Attempt(task, location, now, first, task.start))
                _update_load(registry, attempts)
            registry.observe(now, received)
            now += self.step
            for name, path in self.paths.items():
                flowing = [one for one in attempts if one.location.mirror == name and one.first_byte <= now]
                for one in flowing:
                    if one.at == one.task.start:
                        connected.add(name)
                        registry.record_response(name, one.location.origin, now, path.rtt)
                    rate = min(path.capacity / len(flowing), path.cap)
                    got = min(rate * self.step, one.task.end - one.at)
                    one.at += got
                    received[name] += got  # type: ignore[assignment]
                    if one.at >= one.task.end:
                        attempts.remove(one)
                        self._held(file, one.task)
                        self.delivered[name] += one.task.size
                        registry.record_throughput(name, now, one.task.size, now - one.began)
                        one.location.deliver()
                        registry.record_success(name)
            self._reassign_slow_chunks(registry, queue, file, attempts)
            assert now < 1e5, "the download does not end"
        self.seconds = now
        return self

    def _held(self, file: FileDownload, task: RangeTask) -> None:
        index = task.chunk.index
        last = file.assemblies[index].held + task.size == task.chunk.size
        file.advance_chunk(index, ChunkEvent.LAST_PART_WRITTEN if last else ChunkEvent.PART_WRITTEN, task.size)
        if last:
            file.advance_chunk(index, ChunkEvent.COMMITTED)

    def _reassign_slow_chunks(
        self, registry: MirrorRegistry, queue: TaskQueue, file: FileDownload, attempts: list[_Attempt]
    ) -> None:
        """As the download does at its end."""
        if len(attempts) >= self.connections or any(task.order[1] not in file.assemblies for task in queue):
            return
        _update_load(registry, attempts)
        selector = registry.selector()
        for assembly in list(file.assemblies.values()):
            mine = [one for one in attempts if one.task.chunk == assembly.chunk]
            if self._is_too_slow(selector, file, assembly, int(sum(one.at - one.task.start for one in mine))):
                for one in mine:
                    attempts.remove(one)
                queue.drop_chunk(assembly.chunk)
                file.advance_chunk(assembly.chunk.index, ChunkEvent.WITHDRAWN)
                self.wasted += assembly.held
                queue.push(replace(RangeTask.again(assembly.chunk), failures=1, avoid=assembly.mirror))

    def _is_too_slow(
        self, selector: MirrorSelector, file: FileDownload, assembly: ChunkAssembly, received: int
    ) -> bool:
        chunks = sum(one.mirror == assembly.mirror for one in file.assemblies.values())
        size, left = assembly.chunk.size, assembly.chunk.size - assembly.held - received
        return selector.should_reassign(file.options, assembly.mirror, chunks, size, left)

    @property
    def rate(self) -> float:
        """Bytes per second of the download."""
        return self.size / self.seconds

    def _due(self, file: FileDownload, attempts: list[_Attempt]) -> Counter[str]:
        """Bytes of begun chunks that have not arrived, by mirror."""
        due = Counter[str]()
        for assembly in file.assemblies.values():
            due[assembly.mirror] += assembly.chunk.size - assembly.held
        for one in attempts:
            due[one.location.mirror] -= int(one.at - one.task.start)
        return due

    def _next(
        self, registry: MirrorRegistry, queue: TaskQueue, file: FileDownload, now: float, attempts: list[_Attempt]
    ) -> tuple[RangeTask, LocationState] | None:
        _update_load(registry, attempts, self._due(file, attempts))
        selector = registry.selector()
        if not selector.has_capacity:
            return None
        in_flight = Counter(one.location.origin for one in attempts)

        def taken(*, fair: bool) -> tuple[RangeTask, LocationState] | None:
            found: list[str] = []

            def may(task: FetchTask) -> bool:
                mirror = selector.select(file.selection_request(task), queue.bytes, in_flight, fair=fair)
                found.extend([mirror] if mirror is not None else [])
                return mirror is not None

            task = pop(queue, now, may)
            return (task, file.at_mirror(found[-1])) if task is not None else None

        if (both := taken(fair=True) or taken(fair=False)) is None:
            return None
        task, location = both
        part, rest = next_part(registry.states[location.mirror].concurrency, task, queue.bytes)
        if rest is not None:
            queue.push(rest)
        return part, location


def _update_load(registry: MirrorRegistry, attempts: list[_Attempt], due: Counter[str] | None = None) -> None:
    running = Counter(one.location.mirror for one in attempts)
    registry.update_load({name: Load(count) for name, count in running.items()}, registry.due if due is None else due)
