"""The tries that are running, and what can be done to them: watched, cut short, given up, called off."""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import Callable, Coroutine
from dataclasses import dataclass, field
from typing import Any

from modelferry.engine.download.events import Attempt, ChunkReported, Event
from modelferry.engine.download.range_task import RangeTask
from modelferry.engine.pacing import (
    ConcurrencyController,
    Load,
    Stream,
    find_slow,
    find_stalled,
    find_steal_candidate,
    steal_offset,
)
from modelferry.http.transport.pipelining import DEPTH
from modelferry.http.wire import Origin

#: Small tries that may wait for the checkpoint beside those that fetch. Each has a file open.
_WAITING = 64


@dataclass(slots=True, eq=False)
class InFlight:
    """Tasks that each bring one event, with the `Attempt` that each is about. ``pipes``: how many connections to a
    server small requests share."""

    tasks: dict[asyncio.Task[Event], Attempt] = field(default_factory=dict)
    pipes: Callable[[Origin], int] = lambda origin: 0

    def spawn(self, work: Coroutine[Any, Any, Event], attempt: Attempt) -> None:
        """Begin `work`."""
        self.tasks[asyncio.create_task(work)] = attempt

    @property
    def loads(self) -> dict[str, Load]:
        """Those that have, or are about to have, a connection, by mirror. With those that wait for the checkpoint to
        commit, so that no more is fetched than the disk takes; but for some small ones, since a disk takes about as
        long for one of them as for several, and other requests must not wait for it."""
        large, small, waiting, shared = Counter[str](), Counter[str](), Counter[str](), Counter[str]()
        piped = Counter[tuple[str, Origin]]()
        for attempt in self.tasks.values():
            if attempt.origin is not None:
                if attempt.pipelined and not attempt.reported:
                    piped[attempt.mirror, attempt.origin] += 1
                    continue
                kind = large if not attempt.small else waiting if attempt.reported else small
                kind[attempt.mirror] += 1
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
        return Counter(attempt.origin for attempt in self.tasks.values() if attempt.origin is not None)

    def streams(self, mirror: str, now: float) -> list[Stream]:
        """Those that wait for bytes of a part from `mirror`, with their rates as of `now`."""
        found = []
        for task, attempt in self.tasks.items():
            wanted = attempt.task
            if wanted is None or wanted.stream or attempt.mirror != mirror:
                continue
            if attempt.at >= attempt.end or attempt.dropped or task.done():
                continue
            attempt.meter = attempt.meter.sampled(now, attempt.at - wanted.start)
            facts = (attempt.at, attempt.end, attempt.meter, wanted.whole, wanted.drops)
            found.append(Stream(task, attempt.origin, *facts))
        return found

    def abort_slow(self, mirror: str, concurrency: ConcurrencyController, now: float) -> None:
        """Have those break off that are slow beside the others at `mirror`; they end as Missed, with what they have."""
        for stream in find_slow(self.streams(mirror, now), concurrency, now):
            self._drop(self._task(stream))

    def drop_all(self, mirror: str) -> None:
        """Have all that ask `mirror` for a part break off."""
        for task, attempt in list(self.tasks.items()):
            parted = attempt.task is not None and not attempt.task.stream
            if attempt.mirror == mirror and parted and attempt.at < attempt.end and not task.done():
                self._drop(task)

    def cancel_excess(self, keep: int, mirror: str = "") -> None:
        """Have all parts (of `mirror`) but `keep` break off, since a limit is not enough for more: servers do not wait
        for hours. They end as Missed, with what they have. A whole file as a stream stays: it could not go on where it
        was."""
        parts = [
            (task, attempt)
            for task, attempt in self.tasks.items()
            if attempt.task is not None and not attempt.task.stream and not attempt.dropped
            if attempt.at < attempt.end and mirror in ("", attempt.mirror)
        ]
        parts.sort(key=lambda part: part[1].end - part[1].at)
        for task, attempt in parts[keep:]:
            attempt.dropped = True
            task.cancel()

    def share(self, mirror: str, concurrency: ConcurrencyController, now: float) -> RangeTask | None:
        """Half of what the slowest at `mirror` still has to fetch, as a task for another; None where all end soon.
        Those that bring nothing at all break off."""
        streams = self.streams(mirror, now)
        for stream in find_stalled(streams, concurrency, now):
            self._drop(self._task(stream))
        divisible = [one for one in streams if not self.tasks[self._task(one)].dropped]
        found = find_steal_candidate(divisible, concurrency, now)
        if found is None:
            return None
        attempt = self.tasks[self._task(found)]
        assert attempt.task is not None
        _, half = attempt.remaining.split(steal_offset(found, concurrency))
        attempt.end = half.start
        return half

    def _drop(self, task: asyncio.Task[Event]) -> None:
        attempt = self.tasks[task]
        attempt.dropped = True
        if attempt.answer is not None:
            attempt.answer.abort()
        else:
            task.cancel()

    async def cancel(self, which: Callable[[Attempt], bool]) -> list[tuple[ChunkReported, float]]:
        """Stop those that `which` picks; returns what they committed meanwhile, and when those attempts began."""
        doomed = {task: attempt for task, attempt in self.tasks.items() if which(attempt)}
        for task in doomed:
            del self.tasks[task]
            task.cancel()
        events = await asyncio.gather(*doomed, return_exceptions=True)
        return [
            (event, attempt.begun)
            for event, attempt in zip(events, doomed.values(), strict=True)
            if isinstance(event, ChunkReported) and event.receipt.committed
        ]

    @staticmethod
    def _task(stream: Stream) -> asyncio.Task[Event]:
        assert isinstance(stream.key, asyncio.Task)
        return stream.key
