"""A download as it stands: what its decisions read and change. Only the fetcher's loop does, one decision at a time."""

from __future__ import annotations

from dataclasses import dataclass, field

from modelferry.engine.pace import LEAST, Budget, next_part
from modelferry.engine.plan import Backlog, Lease
from modelferry.engine.servers import Servers
from modelferry.engine.tally import Tally
from modelferry.engine.tries import Tries
from modelferry.engine.wire import Origin
from modelferry.engine.work import FileWork


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

    def next(self, now: float, *, share: bool = True) -> Lease | None:
        """What an idle connection fetches: the next part; where all are being fetched, half of the slowest one, if it
        may `share` that."""
        lease = self.backlog.pop(now, self._may_fetch, small=self.tries.load.wants_small)
        if lease is None:
            busy = len(self.backlog) or self.servers.paused or not share
            return None if busy else self.tries.share(self.servers.pace, now)
        part, rest = next_part(self.servers.pace_of(self._origin(lease)), lease, self.backlog.bytes)
        if rest is not None:
            self.backlog.push(rest, now)
        return part

    @property
    def requests(self) -> int:
        """About as many as could be sent at once."""
        return len(self.backlog) + self.backlog.bytes // LEAST

    def times(self) -> list[float]:
        """Clock readings at which something may be fetched that may not be fetched yet."""
        ready = self.backlog.next_ready()
        return [*self.servers.paused.values(), *([] if ready is None else [ready])]

    def _may_fetch(self, lease: Lease) -> bool:
        origin = self._origin(lease)
        return self.servers.may_ask(origin, asked=self.tries.asks(origin))

    def _origin(self, lease: Lease) -> Origin:
        return Origin.of(self.servers.place_for(self.file_of(lease), lease).place.url)
