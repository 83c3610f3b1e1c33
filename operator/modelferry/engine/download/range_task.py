"""Which chunk is fetched next, and what a stopped download may keep. Pure: clock readings are arguments."""

from __future__ import annotations

import heapq
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from itertools import chain

from modelferry.engine.checkpoint.api import OpenedFile
from modelferry.engine.pacing import ConcurrencyController, next_part_size
from modelferry.manifest import SMALL_CHUNK, Chunk, FileEntry

#: Leases that are looked at to find one that may be fetched now: while every one has to wait for its server, that
#: is a few milliseconds.
LOOK = 256


@dataclass(frozen=True, slots=True)
class RangeTask:
    """The task to fetch part of a chunk: bytes from `start` to `end`; or, as a ``stream``, a whole file at once, which
    `chunk` then spans.

    ``failures`` counts failures since the last progress; ``rejected`` how often its bytes were not what the server
    itself declared, ``unsynced`` how often the disk refused them, ``drops`` how often it was taken from a stream that
    was too slow. ``reopen``: the chunk is done, and is fetched again to compare. ``fresh``: caches on the way are asked
    to fetch anew. ``whole``: not to be divided among several requests. ``alone``: not to be sent behind others on a
    connection. ``avoid``: the mirror that failed last.
    """

    chunk: Chunk
    start: int
    end: int
    failures: int = 0
    rejected: int = 0
    unsynced: int = 0
    drops: int = 0
    reopen: bool = False
    fresh: bool = False
    stream: bool = False
    whole: bool = False
    alone: bool = False
    avoid: str = ""

    @classmethod
    def of(cls, chunk: Chunk, *, reopen: bool = False) -> RangeTask:
        """The whole chunk. A chunk to compare is asked for past the caches: one may be what spoiled it."""
        return cls(chunk, chunk.start, chunk.end, reopen=reopen, fresh=reopen, whole=reopen)

    @classmethod
    def again(cls, chunk: Chunk) -> RangeTask:
        """The whole chunk once more, in one request: what came of it in parts was of no use."""
        return cls(chunk, chunk.start, chunk.end, whole=True)

    @property
    def size(self) -> int:
        """Bytes to fetch."""
        return self.end - self.start

    @property
    def small(self) -> bool:
        """Does it cost a round trip rather than a line's bytes?"""
        return self.chunk.size <= SMALL_CHUNK

    def split(self, at: int) -> tuple[RangeTask, RangeTask]:
        """The bytes before file offset `at`, and the others."""
        return replace(self, end=at), replace(self, start=at, reopen=False)

    def after(self, kept: int) -> RangeTask:
        """After a try that left its bytes good up to file offset `kept`: progress is what resets the count."""
        if kept > self.start:
            return replace(self, start=kept, failures=1, reopen=False)
        return replace(self, failures=self.failures + 1)


def next_part(concurrency: ConcurrencyController, task: RangeTask, waiting: int) -> tuple[RangeTask, RangeTask | None]:
    """The part of `task` to request now, and the rest to put back, if any; `waiting` bytes after it are not yet
    requested."""
    size = task.size if task.whole or task.stream else next_part_size(concurrency, task.size, waiting)
    return (task, None) if size == task.size else task.split(task.start + size)


_Ready = tuple[int, int, int, RangeTask]


class TaskQueue:
    """Leases that wait: those that may be fetched now in the manifest's order, small ones and others for themselves;
    the rest by the time when they may.

    The manifest's order keeps the whole-file digests at work while chunks arrive.
    """

    def __init__(self) -> None:
        #: Others, and small ones.
        self._ready: tuple[list[_Ready], list[_Ready]] = ([], [])
        self._later: list[tuple[float, int, int, int, RangeTask]] = []
        #: Bytes of all leases in it.
        self.bytes = 0

    def push(self, task: RangeTask, ready: float = 0.0) -> None:
        """Add `task`, not to be fetched before clock reading `ready`."""
        self.bytes += task.size
        heapq.heappush(self._later, (ready, task.chunk.file, task.chunk.index, task.start, task))

    def pop(
        self,
        now: float,
        may: Callable[[RangeTask], bool] = lambda task: True,
        *,
        small: bool = False,
        crowded: bool = False,
    ) -> RangeTask | None:
        """The first lease that may be fetched at `now`, and that `may` allows, a ``small`` one for choice, or one that
        is not; none that is small where it is ``crowded``. None where there is none among the first `LOOK`."""
        self._look(now)
        kinds = (False,) if crowded else (small, not small)
        found = next(filter(None, (_first(self._ready[kind], may) for kind in kinds)), None)
        self.bytes -= found.size if found is not None else 0
        return found

    def peek(self, now: float) -> RangeTask | None:
        """The first of those that may be fetched at `now`, whether they are small or not."""
        self._look(now)
        firsts = [ready[0] for ready in self._ready if ready]
        return min(firsts)[-1] if firsts else None

    def next_ready(self) -> float | None:
        """When the next waiting lease may be fetched; None where none waits for a time."""
        return self._later[0][0] if self._later else None

    def drop(self, file: int) -> None:
        """Forget the leases of file number `file`."""
        self._keep(lambda task: task.chunk.file != file)

    def drop_chunk(self, chunk: Chunk) -> None:
        """Forget the leases of `chunk`."""
        self._keep(lambda task: (task.chunk.file, task.chunk.index) != (chunk.file, chunk.index))

    def _look(self, now: float) -> None:
        while self._later and self._later[0][0] <= now:
            _, file, index, start, task = heapq.heappop(self._later)
            heapq.heappush(self._ready[task.small], (file, index, start, task))

    def _keep(self, which: Callable[[RangeTask], bool]) -> None:
        for ready in self._ready:
            ready[:] = [item for item in ready if which(item[-1])]
            heapq.heapify(ready)
        self._later = [item for item in self._later if which(item[-1])]
        heapq.heapify(self._later)
        self.bytes = sum(task.size for task in self)

    def __len__(self) -> int:
        return sum(len(ready) for ready in self._ready) + len(self._later)

    def __iter__(self) -> Iterator[RangeTask]:
        ready = (item[-1] for item in chain(*self._ready))
        return chain(ready, (item[-1] for item in self._later))


def _first(ready: list[_Ready], may: Callable[[RangeTask], bool]) -> RangeTask | None:
    """Take out the first of the heap that `may` allows."""
    held: list[_Ready] = []
    found = None
    while ready and found is None and len(held) < LOOK:
        item = heapq.heappop(ready)
        if may(item[-1]):
            found = item[-1]
        else:
            held.append(item)
    for item in held:
        heapq.heappush(ready, item)
    return found


def can_resume(entry: FileEntry, opened: OpenedFile) -> bool:
    """May the chunks that are done be completed with new ones?

    With a digest, yes: it decides in the end. Without, only where all came from one mirror under one strong validator;
    chunks of unknown versions do not make a file (RFC 9110 section 13.1.5 asks the same of If-Range).
    """
    if entry.digest is not None or opened.verified or not opened.validators:
        return True
    return len(opened.validators) == 1 and opened.validators[0][1] != ""
