"""What an attempt is to do. Pure.

A `RangeTask` fetches bytes of a chunk, a `StreamTask` a file in one response, a `ProbeTask` the first byte of a file,
to see whether a mirror answers; a `DigestTask` has the checkpoint compare the digest of a file.
"""

from __future__ import annotations

from dataclasses import dataclass, replace

from modelferry.engine.pacing import ConcurrencyController, next_part_size
from modelferry.manifest import SMALL_CHUNK, Chunk


@dataclass(frozen=True, slots=True)
class RangeTask:
    """Fetch bytes `start` to `end` (file offsets, exclusive) of `chunk`.

    ``failures`` since the last progress; ``rejected``: how often the bytes were not those of the server's own digest;
    ``unsynced``: how often the disk refused them; ``drops``: how often the task was taken from a stream that was too
    slow; ``stalls``: how often its server sent nothing in time. ``reopen``: the chunk is committed, and is fetched
    again to compare it. ``fresh``: caches on the network path must not answer. ``indivisible``: to be fetched in one
    request. ``alone``: not to be pipelined. ``avoid``: the mirror that failed last.
    """

    chunk: Chunk
    start: int
    end: int
    failures: int = 0
    rejected: int = 0
    unsynced: int = 0
    drops: int = 0
    stalls: int = 0
    reopen: bool = False
    fresh: bool = False
    indivisible: bool = False
    alone: bool = False
    avoid: str = ""

    @classmethod
    def of(cls, chunk: Chunk, *, reopen: bool = False) -> RangeTask:
        """The entire chunk. One that is fetched to compare bypasses the caches: one of them may have corrupted it."""
        return cls(chunk, chunk.start, chunk.end, reopen=reopen, fresh=reopen, indivisible=reopen)

    @classmethod
    def again(cls, chunk: Chunk) -> RangeTask:
        """The entire chunk once more, in one request: its parts could not be used."""
        return cls(chunk, chunk.start, chunk.end, indivisible=True)

    @property
    def file(self) -> int:
        """The number of the file."""
        return self.chunk.file

    @property
    def size(self) -> int:
        """Bytes to fetch."""
        return self.end - self.start

    @property
    def small(self) -> bool:
        """Does it take a round trip rather than bandwidth?"""
        return self.chunk.size <= SMALL_CHUNK

    @property
    def order(self) -> tuple[int, int, int]:
        """By which tasks are sorted: the manifest's order."""
        return self.chunk.file, self.chunk.index, self.start

    def split(self, at: int) -> tuple[RangeTask, RangeTask]:
        """The bytes before file offset `at`, and the others."""
        return replace(self, end=at), replace(self, start=at, reopen=False)

    def after(self, kept: int) -> RangeTask:
        """What is left after an attempt whose bytes are good up to file offset `kept`: progress resets the failures."""
        if kept > self.start:
            return replace(self, start=kept, failures=1, reopen=False)
        return replace(self, failures=self.failures + 1)


@dataclass(frozen=True, slots=True)
class StreamTask:
    """Fetch file number `file` of `size` bytes in one response; the fields are those of `RangeTask`."""

    file: int
    size: int
    failures: int = 0
    stalls: int = 0
    fresh: bool = False
    avoid: str = ""

    @property
    def small(self) -> bool:
        """As in `RangeTask`."""
        return self.size <= SMALL_CHUNK

    @property
    def order(self) -> tuple[int, int, int]:
        """As in `RangeTask`."""
        return self.file, 0, 0


@dataclass(frozen=True, slots=True)
class ProbeTask:
    """Request the first byte of file number `file`."""

    file: int


@dataclass(frozen=True, slots=True)
class DigestTask:
    """Compare the digest of file number `file`."""

    file: int


#: What waits in the queue for a connection.
FetchTask = RangeTask | StreamTask
Task = FetchTask | ProbeTask | DigestTask


def next_part(concurrency: ConcurrencyController, task: RangeTask, waiting: int) -> tuple[RangeTask, RangeTask | None]:
    """The part of `task` to request now, and the rest to put back, if any; `waiting` bytes after it are not yet
    requested."""
    size = task.size if task.indivisible else next_part_size(concurrency, task.size, waiting)
    return (task, None) if size == task.size else task.split(task.start + size)
