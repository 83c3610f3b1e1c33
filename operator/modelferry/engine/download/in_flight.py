"""The attempts that run: counted, measured, and made to end early."""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import Callable, Collection, Coroutine
from typing import Any

from modelferry.engine.download.attempt import Attempt
from modelferry.engine.download.events import ChunkCommitted, Outcome
from modelferry.engine.download.tasks import DigestTask, RangeTask
from modelferry.engine.pacing import ConcurrencyController, Load, Stream, find_slow
from modelferry.http.transport.pipelining import DEPTH
from modelferry.http.wire import Origin

#: Small attempts that may wait for the checkpoint beside those that fetch. Each has a file open.
_MAX_WAITING = 64


class InFlight:
    """The running attempts, each in an asyncio task of its own."""

    def __init__(self, pipelines: Callable[[Origin], int] = lambda origin: 0) -> None:
        """`pipelines`: how many connections to a server carry pipelined requests."""
        self.tasks: dict[asyncio.Task[Outcome], Attempt] = {}
        self._of: dict[Attempt, asyncio.Task[Outcome]] = {}
        self._pipelines = pipelines

    @property
    def attempts(self) -> Collection[Attempt]:
        """All of them."""
        return self.tasks.values()

    def compares(self, file: int) -> bool:
        """Is the digest of file number `file` being compared?"""
        return any(isinstance(one.task, DigestTask) and one.task.file == file for one in self.attempts)

    def spawn(self, work: Coroutine[Any, Any, Outcome], attempt: Attempt) -> None:
        """Begin `work`, which is `attempt`."""
        task = asyncio.create_task(work)
        self.tasks[task], self._of[attempt] = attempt, task

    def remove(self, task: asyncio.Task[Outcome]) -> Attempt | None:
        """The attempt of `task`, which has ended; None if it was cancelled before."""
        attempt = self.tasks.pop(task, None)
        if attempt is not None:
            del self._of[attempt]
        return attempt

    @property
    def loads(self) -> dict[str, Load]:
        """By mirror, the attempts that have a connection, or are about to have one. Those that wait for the checkpoint
        count as well, so that no more is fetched than the disk takes; but for some small ones, since a disk takes about
        as long for one of them as for several, and other requests must not wait for it."""
        large, small, waiting, shared = Counter[str](), Counter[str](), Counter[str](), Counter[str]()
        pipelined = Counter[tuple[str, Origin]]()
        for attempt in self.tasks.values():
            if attempt.origin is not None:
                if attempt.pipelined and not attempt.reported:
                    pipelined[attempt.mirror, attempt.origin] += 1
                    continue
                kind = large if not attempt.small else waiting if attempt.reported else small
                kind[attempt.mirror] += 1
        spared = _MAX_WAITING
        for name in waiting:
            free = min(spared, waiting[name])
            spared -= free
            small[name] += waiting[name] - free
        for (name, origin), count in pipelined.items():
            # There may be more connections than these need, of which some requests are answered already.
            shared[name] += max(-(-count // DEPTH), self._pipelines(origin))
        return {name: Load(large[name], small[name], shared[name]) for name in {*large, *small, *shared}}

    def by_origin(self) -> Counter[Origin]:
        """How many load each server."""
        return Counter(attempt.origin for attempt in self.tasks.values() if attempt.origin is not None)

    def streams(self, mirror: str) -> list[Stream]:
        """Attempts that wait for bytes of a range from `mirror`, with their rates as `sample` measured them."""
        found = []
        for task, attempt in self.tasks.items():
            wanted = attempt.task
            if not isinstance(wanted, RangeTask) or attempt.mirror != mirror:
                continue
            if attempt.at >= attempt.end or attempt.dropped or task.done():
                continue
            facts = (attempt.at, attempt.end, attempt.meter, wanted.indivisible, wanted.drops)
            found.append(Stream(attempt, attempt.origin, *facts))
        return found

    def sample(self, now: float) -> None:
        """Measure the rates of the ranges that are being received, or whose responses are late."""
        for attempt in self.tasks.values():
            begun = attempt.response is not None or now >= attempt.measured_from
            if begun and isinstance(attempt.task, RangeTask) and attempt.at < attempt.end:
                attempt.meter = attempt.meter.sampled(now, attempt.at - attempt.task.start)

    def abort_slow(self, mirror: str, concurrency: ConcurrencyController, now: float) -> None:
        """Abort those that are slow beside the others at `mirror`; they end as AttemptFailed, with what they have."""
        for stream in find_slow(self.streams(mirror), concurrency, now):
            self.drop(attempt_of(stream))

    def drop_all(self, mirror: str) -> None:
        """Abort all that fetch a range from `mirror`."""
        for task, attempt in list(self.tasks.items()):
            is_range = isinstance(attempt.task, RangeTask)
            if attempt.mirror == mirror and is_range and attempt.at < attempt.end and not task.done():
                self.drop(attempt)

    def cancel_excess(self, keep: int, mirror: str = "") -> None:
        """Abort all ranges (from `mirror`) but `keep`, since a limit is not enough for more: servers do not wait for
        hours. They end as AttemptFailed, with what they have. A stream stays: it could not continue where it was."""
        ranges = [
            attempt
            for attempt in self.tasks.values()
            if isinstance(attempt.task, RangeTask) and not attempt.dropped
            if attempt.at < attempt.end and mirror in ("", attempt.mirror)
        ]
        ranges.sort(key=lambda attempt: attempt.end - attempt.at)
        for attempt in ranges[keep:]:
            attempt.dropped = True
            self._of[attempt].cancel()

    def drop(self, attempt: Attempt) -> None:
        """Abort `attempt`, of a range; it ends as AttemptFailed, with what it has."""
        attempt.dropped = True
        if attempt.response is not None:
            attempt.response.abort()
        else:
            self._of[attempt].cancel()

    async def cancel(self, which: Callable[[Attempt], bool]) -> list[ChunkCommitted]:
        """Cancel those that `which` picks; returns the chunks that were committed meanwhile."""
        cancelled = [task for task, attempt in self.tasks.items() if which(attempt)]
        for task in cancelled:
            if (attempt := self.remove(task)) is not None:
                attempt.cancelled = True
            task.cancel()
        outcomes = await asyncio.gather(*cancelled, return_exceptions=True)
        return [outcome for outcome in outcomes if isinstance(outcome, ChunkCommitted)]


def attempt_of(stream: Stream) -> Attempt:
    """The attempt that `InFlight.streams` made `stream` of."""
    assert isinstance(stream.key, Attempt)
    return stream.key
