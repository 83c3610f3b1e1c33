"""The tries that are running, and what can be done to them: watched, cut short, given up, called off."""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import Callable, Coroutine
from dataclasses import dataclass, field
from typing import Any

from modelferry.engine.pace import Load, Pace, Stream, cut_of, laggards, silent, victim
from modelferry.engine.plan import Lease
from modelferry.engine.transfer import Event, Landed, Transfer
from modelferry.engine.transport.pipe import DEPTH
from modelferry.engine.wire import Origin

#: Small tries that may wait for the checkpoint beside those that fetch. Each has a file open.
_WAITING = 64


@dataclass(slots=True, eq=False)
class Tries:
    """Tasks that each bring one event, with the `Transfer` that each is about. ``pipes``: how many connections to a
    server small requests share."""

    tasks: dict[asyncio.Task[Event], Transfer] = field(default_factory=dict)
    pipes: Callable[[Origin], int] = lambda origin: 0

    def spawn(self, work: Coroutine[Any, Any, Event], transfer: Transfer) -> None:
        """Begin `work`."""
        self.tasks[asyncio.create_task(work)] = transfer

    @property
    def loads(self) -> dict[str, Load]:
        """Those that have, or are about to have, a connection, by mirror. With those that wait for the checkpoint to
        commit, so that no more is fetched than the disk takes; but for some small ones, since a disk takes about as
        long for one of them as for several, and other requests must not wait for it."""
        large, small, waiting, shared = Counter[str](), Counter[str](), Counter[str](), Counter[str]()
        piped = Counter[tuple[str, Origin]]()
        for transfer in self.tasks.values():
            if transfer.origin is not None:
                if transfer.pipelined and not transfer.reported:
                    piped[transfer.mirror, transfer.origin] += 1
                    continue
                kind = large if not transfer.small else waiting if transfer.reported else small
                kind[transfer.mirror] += 1
        spared = _WAITING
        for name in waiting:
            free = min(spared, waiting[name])
            spared -= free
            small[name] += waiting[name] - free
        for (name, origin), count in piped.items():
            # There may be more than they would need, of which some requests are answered already.
            shared[name] += max(-(-count // DEPTH), self.pipes(origin))
        return {name: Load(large[name], small[name], shared[name]) for name in {*large, *small, *shared}}

    def by_origin(self) -> Counter[Origin]:
        """How many ask each server."""
        return Counter(transfer.origin for transfer in self.tasks.values() if transfer.origin is not None)

    def streams(self, mirror: str, now: float) -> list[Stream]:
        """Those that wait for bytes of a part from `mirror`, with their rates as of `now`."""
        found = []
        for task, transfer in self.tasks.items():
            lease = transfer.lease
            if lease is None or lease.stream or transfer.mirror != mirror:
                continue
            if transfer.at >= transfer.end or transfer.dropped or task.done():
                continue
            transfer.meter = transfer.meter.sampled(now, transfer.at - lease.start)
            facts = (transfer.at, transfer.end, transfer.meter, lease.whole, lease.drops)
            found.append(Stream(task, transfer.origin, *facts))
        return found

    def drop_laggards(self, mirror: str, pace: Pace, now: float) -> None:
        """Have those break off that are slow beside the others at `mirror`; they end as Missed, with what they have."""
        for stream in laggards(self.streams(mirror, now), pace, now):
            self._drop(self._task(stream))

    def drop_all(self, mirror: str) -> None:
        """Have all that ask `mirror` for a part break off."""
        for task, transfer in list(self.tasks.items()):
            parted = transfer.lease is not None and not transfer.lease.stream
            if transfer.mirror == mirror and parted and transfer.at < transfer.end and not task.done():
                self._drop(task)

    def lay_down(self, keep: int, mirror: str = "") -> None:
        """Have all parts (of `mirror`) but `keep` break off, since a limit is not enough for more: servers do not wait
        for hours. They end as Missed, with what they have. A whole file as a stream stays: it could not go on where it
        was."""
        parts = [
            (task, transfer)
            for task, transfer in self.tasks.items()
            if transfer.lease is not None and not transfer.lease.stream and not transfer.dropped
            if transfer.at < transfer.end and mirror in ("", transfer.mirror)
        ]
        parts.sort(key=lambda part: part[1].end - part[1].at)
        for task, transfer in parts[keep:]:
            transfer.dropped = True
            task.cancel()

    def share(self, mirror: str, pace: Pace, now: float) -> Lease | None:
        """Half of what the slowest at `mirror` still has to fetch, as a task for another; None where all end soon.
        Those that bring nothing at all break off."""
        streams = self.streams(mirror, now)
        for stream in silent(streams, pace, now):
            self._drop(self._task(stream))
        found = victim([one for one in streams if not self.tasks[self._task(one)].dropped], pace, now)
        if found is None:
            return None
        transfer = self.tasks[self._task(found)]
        assert transfer.lease is not None
        _, half = transfer.lease_now.split(cut_of(found, pace))
        transfer.end = half.start
        return half

    def _drop(self, task: asyncio.Task[Event]) -> None:
        transfer = self.tasks[task]
        transfer.dropped = True
        if transfer.answer is not None:
            transfer.answer.abort()
        else:
            task.cancel()

    async def call_off(self, which: Callable[[Transfer], bool]) -> list[Landed]:
        """Stop those that `which` picks; returns what they committed with their last breath."""
        doomed = {task: transfer for task, transfer in self.tasks.items() if which(transfer)}
        for task in doomed:
            del self.tasks[task]
            task.cancel()
        events = await asyncio.gather(*doomed, return_exceptions=True)
        return [event for event in events if isinstance(event, Landed) and event.receipt.committed]

    @staticmethod
    def _task(stream: Stream) -> asyncio.Task[Event]:
        assert isinstance(stream.key, asyncio.Task)
        return stream.key
