"""Several mirrors over simulated lines, driven by the fetcher's own decisions (`engine.servers`, `engine.pace`).

A mirror's streams share its capacity evenly; a request costs a round trip (a new connection three), and a stream may be
limited to `cap`. Slow start is left out: tests/unit/engine/line_simulator.py has it.
"""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass, field, replace
from math import inf

from modelferry.engine.checkpoint.api import OpenedFile
from modelferry.engine.mirrors import Mirror
from modelferry.engine.pace import next_part
from modelferry.engine.plan import Backlog, Lease
from modelferry.engine.servers import Servers
from modelferry.engine.work import FileWork, PlaceWork
from modelferry.manifest import Digest, FileEntry, Place, chunk_count


@dataclass(frozen=True, slots=True)
class Line:
    """``capacity`` and ``cap`` of one stream in bytes per second, ``rtt`` in seconds."""

    capacity: float
    rtt: float = 0.03
    cap: float = inf


@dataclass(slots=True, eq=False)
class _Try:
    lease: Lease
    place: PlaceWork
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
        places = tuple(Place(f"https://{name}/a", name) for name in self.lines)
        entry = FileEntry("a", self.size, Digest("md5", "0" * 32), places)
        file = FileWork.of(0, entry, OpenedFile(0, False, tuple(range(chunk_count(self.size)))))
        servers = Servers.of(self.connections, [Mirror(name, 0) for name in self.lines])
        servers.meet(file.places, 0.0)
        backlog, tries, met = Backlog(), list[_Try](), set[str]()
        for chunk in file.chunks:
            backlog.push(Lease.of(chunk))
        now, received = 0.0, Counter[str]()
        while file.missing:
            servers.running = Counter(one.place.place.mirror for one in tries)
            while len(tries) < self.connections and (found := self._next(servers, backlog, file, now, tries)):
                lease, place = found
                name = place.place.mirror
                file.assembly(lease.chunk).mirror = name
                first = now + self.lines[name].rtt * (1 if name in met else 3)
                tries.append(_Try(lease, place, now, first, lease.start))
                servers.running[name] += 1
            servers.observe(now, received)
            now += self.step
            for name, line in self.lines.items():
                flowing = [one for one in tries if one.place.place.mirror == name and one.first_byte <= now]
                for one in flowing:
                    if one.at == one.lease.start:
                        met.add(name)
                        servers.answered(one.place, now, line.rtt)
                    rate = min(line.capacity / len(flowing), line.cap)
                    got = min(rate * self.step, one.lease.end - one.at)
                    one.at += got
                    received[name] += got  # type: ignore[assignment]
                    if one.at >= one.lease.end:
                        tries.remove(one)
                        self._held(file, one.lease)
                        self.brought[name] += one.lease.size
                        servers.brought(name, now, one.lease.size, now - one.began)
                        servers.delivered(one.place)
            self._rescue(servers, backlog, file, tries)
            assert now < 1e5, "it never ends"
        self.seconds = now
        return self

    def _held(self, file: FileWork, lease: Lease) -> None:
        assembly = file.assembly(lease.chunk)
        assembly.held += lease.size
        if assembly.complete:
            file.missing.discard(lease.chunk.index)
            del file.assemblies[lease.chunk.index]

    def _rescue(self, servers: Servers, backlog: Backlog, file: FileWork, tries: list[_Try]) -> None:
        """As Download.crawling and Lifecycle.rescue."""
        if len(tries) >= self.connections or any(lease.chunk.index not in file.assemblies for lease in backlog):
            return
        servers.running = Counter(one.place.place.mirror for one in tries)
        for assembly in list(file.assemblies.values()):
            mine = [one for one in tries if one.lease.chunk == assembly.chunk]
            if servers.too_slow(file, assembly, int(sum(one.at - one.lease.start for one in mine))):
                for one in mine:
                    tries.remove(one)
                backlog.drop_chunk(assembly.chunk)
                del file.assemblies[assembly.chunk.index]
                self.wasted += assembly.held
                backlog.push(replace(Lease.again(assembly.chunk), attempt=1, avoid=assembly.mirror))

    @property
    def rate(self) -> float:
        """Bytes per second of the whole."""
        return self.size / self.seconds

    def _due(self, file: FileWork, tries: list[_Try]) -> Counter[str]:
        """As Download._due."""
        due = Counter[str]()
        for assembly in file.assemblies.values():
            due[assembly.mirror] += assembly.chunk.size - assembly.held
        for one in tries:
            due[one.place.place.mirror] -= int(one.at - one.lease.start)
        return due

    def _next(
        self, servers: Servers, backlog: Backlog, file: FileWork, now: float, tries: list[_Try]
    ) -> tuple[Lease, PlaceWork] | None:
        servers.due = self._due(file, tries)
        if not servers.room:
            return None
        asks = Counter(one.place.origin for one in tries)

        def taken(*, fair: bool) -> tuple[Lease, PlaceWork] | None:
            found: list[PlaceWork] = []

            def may(lease: Lease) -> bool:
                place = servers.place_for(file, lease, backlog.bytes, asks, fair=fair)
                found.extend([place] if place is not None else [])
                return place is not None

            lease = backlog.pop(now, may)
            return (lease, found[-1]) if lease is not None else None

        if (both := taken(fair=True) or taken(fair=False)) is None:
            return None
        lease, place = both
        part, rest = next_part(servers.mirror(place).pace, lease, backlog.bytes)
        if rest is not None:
            backlog.push(rest, now)
        return part, place
