"""The tasks that wait for a connection. Pure: clock readings are arguments."""

from __future__ import annotations

import heapq
from bisect import bisect_left, insort
from collections.abc import Callable, Iterator
from itertools import chain, count, islice

from modelferry.engine.download.tasks import FetchTask, RangeTask
from modelferry.manifest import Chunk

#: Tasks that are checked to find one that may be fetched now: while every one has to wait for its server, that takes a
#: few milliseconds.
LOOK_AHEAD = 256


class TaskQueue:
    """Tasks in the manifest's order, small ones and others apart; those that may not be fetched yet, by the time when
    they may.

    The manifest's order lets the digests of the files grow while chunks arrive.
    """

    def __init__(self) -> None:
        #: Others, and small ones.
        self._ready: tuple[list[FetchTask], list[FetchTask]] = ([], [])
        self._delayed: list[tuple[float, tuple[int, int, int], int, FetchTask]] = []
        self._numbers = count()
        #: Bytes of all tasks.
        self.bytes = 0

    def push(self, task: FetchTask, ready: float | None = None) -> None:
        """Add `task`, which may be fetched now, or from clock reading `ready`."""
        self.bytes += task.size
        if ready is None:
            self._insert(task)
        else:
            heapq.heappush(self._delayed, (ready, task.order, next(self._numbers), task))

    def release(self, now: float) -> None:
        """Let those be fetched whose time has come."""
        while self._delayed and self._delayed[0][0] <= now:
            self._insert(heapq.heappop(self._delayed)[-1])

    def candidates(self, *, small: bool = False, no_small: bool = False) -> Iterator[FetchTask]:
        """Tasks that may be fetched now, the first ones of each kind: ``small`` ones before others, or after them;
        ``no_small``: others alone."""
        for kind in (False,) if no_small else (small, not small):
            yield from islice(self._ready[kind], LOOK_AHEAD)

    def remove(self, task: FetchTask) -> None:
        """Take out `task`, which may be fetched now."""
        ready = self._ready[task.small]
        index = bisect_left(ready, task.order, key=_order)
        while ready[index] is not task:
            index += 1
        del ready[index]
        self.bytes -= task.size

    def first(self) -> FetchTask | None:
        """The first of those that may be fetched now, small or not."""
        return min((ready[0] for ready in self._ready if ready), key=_order, default=None)

    def next_ready(self) -> float | None:
        """When the next delayed task may be fetched; None if there is none."""
        return self._delayed[0][0] if self._delayed else None

    def drop(self, file: int) -> None:
        """Remove the tasks of file number `file`."""
        self._keep(lambda task: task.file != file)

    def drop_chunk(self, chunk: Chunk) -> None:
        """Remove the tasks of `chunk`."""
        self._keep(lambda task: not isinstance(task, RangeTask) or task.order[:2] != (chunk.file, chunk.index))

    def _insert(self, task: FetchTask) -> None:
        ready = self._ready[task.small]
        if not ready or _order(ready[-1]) <= task.order:
            ready.append(task)
        else:
            insort(ready, task, key=_order)

    def _keep(self, which: Callable[[FetchTask], bool]) -> None:
        for ready in self._ready:
            ready[:] = [task for task in ready if which(task)]
        self._delayed = [item for item in self._delayed if which(item[-1])]
        heapq.heapify(self._delayed)
        self.bytes = sum(task.size for task in self)

    def __len__(self) -> int:
        return sum(len(ready) for ready in self._ready) + len(self._delayed)

    def __iter__(self) -> Iterator[FetchTask]:
        return chain(*self._ready, (item[-1] for item in self._delayed))


def _order(task: FetchTask) -> tuple[int, int, int]:
    return task.order
