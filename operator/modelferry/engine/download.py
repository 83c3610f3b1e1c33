"""A download as it stands: what its decisions read and change. Only the fetcher's loop does, one decision at a time."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass, field

from modelferry.engine.pace import LEAST, Budget, Load, next_part
from modelferry.engine.plan import Backlog, Lease
from modelferry.engine.servers import Servers
from modelferry.engine.tally import Tally
from modelferry.engine.tries import Tries
from modelferry.engine.work import Assembly, FileWork, PlaceWork
from modelferry.manifest import Chunk


@dataclass(slots=True)
class Download:
    """``tally``: what was met with. ``retries``: tries that had to be made again. ``message``: what a person is told of
    the last trouble.
    """

    servers: Servers
    budget: Budget
    files: list[FileWork] = field(default_factory=list)
    backlog: Backlog = field(default_factory=Backlog)
    tries: Tries = field(default_factory=Tries)
    tally: Tally = field(default_factory=Tally)
    retries: int = 0
    message: str = ""

    @property
    def whole(self) -> bool:
        """Every file is there, and right."""
        return all(file.verified for file in self.files)

    def file_of(self, lease: Lease) -> FileWork:
        """The file that `lease` is part of."""
        return self.files[lease.chunk.file]

    def progress(self, now: float) -> None:
        """Bytes were kept: patience begins anew."""
        self.budget = self.budget.progress(now)
        self.message = ""

    def next(self, now: float, *, share: bool = True) -> tuple[Lease, PlaceWork] | None:
        """What an idle connection fetches, and from where: the next part; where all are being fetched, half of the
        slowest one, if it may `share` that."""
        loads = self.tries.loads
        several = len(self.servers.known) > 1
        self.servers.take_stock(loads, self._due() if several else {})
        if not self.servers.room:
            return None
        load = sum(loads.values(), Load())
        taken = self._taken(now, load, fair=True) if several else None
        taken = taken or self._taken(now, load, fair=False)
        if taken is None:
            busy = len(self.backlog) or self.servers.paused or not share
            return None if busy else self._share(now)
        lease, place = taken
        work = self.servers.mirror(place)
        part, rest = next_part(work.pace, lease, self.backlog.bytes)
        if rest is not None:
            self.backlog.push(rest, now)
        return part, place

    def _taken(self, now: float, load: Load, *, fair: bool) -> tuple[Lease, PlaceWork] | None:
        """The first lease that there is a place for, out of the backlog; ``fair`` as in `Servers.place_for`."""
        asks = self.tries.by_origin()
        found: list[PlaceWork] = []

        def may(lease: Lease) -> bool:
            place = self.servers.place_for(self.file_of(lease), lease, self.backlog.bytes, asks, fair=fair)
            found.extend([place] if place is not None else [])
            return place is not None

        lease = self.backlog.pop(now, may, small=load.wants_small, crowded=load.crowded)
        return (lease, found[-1]) if lease is not None else None

    def _share(self, now: float) -> tuple[Lease, PlaceWork] | None:
        """Half of a slow part, from the mirror that the other half comes from."""
        for name, work in self.servers.known.items():
            if self.servers.has_room(work) and (lease := self.tries.share(name, work.pace, now)):
                return lease, next(place for place in self.file_of(lease).places if place.place.mirror == name)
        return None

    def crawling(self) -> list[tuple[FileWork, Assembly]]:
        """Chunks that a slow mirror holds up at the end, while others have nothing to do."""
        if self.servers.running.total() >= self.servers.connections or len(self.servers.known) < 2:
            return []
        if any(lease.chunk.index not in self.file_of(lease).assemblies for lease in self.backlog):
            return []  # there is a chunk that nobody has begun
        coming = self._coming()
        return [
            (file, assembly)
            for file in self.files
            for assembly in file.assemblies.values()
            if self.servers.too_slow(file, assembly, coming[assembly.chunk])
        ]

    def _due(self) -> Counter[str]:
        """Bytes of begun chunks that are still to come, by mirror. Of files at work alone: there may be thousands."""
        coming, due = self._coming(), Counter[str]()
        for file in {transfer.file.number: transfer.file for transfer in self.tries.tasks.values()}.values():
            for assembly in file.assemblies.values():
                due[assembly.mirror] += assembly.chunk.size - assembly.held - coming[assembly.chunk]
        return due

    def _coming(self) -> Counter[Chunk]:
        """Bytes of begun chunks that came and are not held yet."""
        coming: Counter[Chunk] = Counter()
        for transfer in self.tries.tasks.values():
            if transfer.lease is not None and not transfer.lease.stream:
                coming[transfer.lease.chunk] += transfer.received
        return coming

    @property
    def requests(self) -> int:
        """About as many as could be sent at once."""
        return len(self.backlog) + self.backlog.bytes // LEAST

    def times(self) -> list[float]:
        """Clock readings at which something may be fetched that may not be fetched yet."""
        ready = self.backlog.next_ready()
        return [*self.servers.paused.values(), *([] if ready is None else [ready]), *self.servers.probe_times()]
