"""Which chunk is fetched next, and what a stopped download may keep. Pure: clock readings are arguments."""

from __future__ import annotations

import heapq
from collections.abc import Callable
from dataclasses import dataclass, replace

from modelferry.engine.checkpoint.api import OpenedFile
from modelferry.manifest import Chunk, FileEntry


@dataclass(frozen=True, slots=True)
class Lease:
    """The task to fetch the rest of a chunk: bytes from `start` to its end; or, as a ``stream``, a whole file at
    once, which `chunk` then spans.

    ``attempt`` counts failures since the last progress; ``rejected`` how often its bytes were not what the server
    itself declared, ``unsynced`` how often the disk refused them. ``reopen``: the chunk is done, and is fetched again
    to compare.
    ``fresh``: caches on the way are asked to fetch anew.
    """

    chunk: Chunk
    start: int
    attempt: int = 0
    rejected: int = 0
    unsynced: int = 0
    reopen: bool = False
    fresh: bool = False
    stream: bool = False

    @classmethod
    def of(cls, chunk: Chunk, *, reopen: bool = False) -> Lease:
        """The whole chunk. A chunk to compare is asked for past the caches: one may be what spoiled it."""
        return cls(chunk, chunk.start, reopen=reopen, fresh=reopen)

    def after(self, kept: int) -> Lease:
        """After a try that left the chunk good up to file offset `kept`: progress is what resets the count."""
        if kept > self.start:
            return replace(self, start=kept, attempt=1, reopen=False)
        return replace(self, attempt=self.attempt + 1)


class Backlog:
    """Leases that wait: those that may be fetched now in the manifest's order, the others by the time when they may.

    The manifest's order keeps the whole-file digests at work while chunks arrive.
    """

    def __init__(self) -> None:
        self._ready: list[tuple[int, int, Lease]] = []
        self._later: list[tuple[float, int, int, Lease]] = []

    def push(self, lease: Lease, ready: float = 0.0) -> None:
        """Add `lease`, not to be fetched before clock reading `ready`."""
        heapq.heappush(self._later, (ready, lease.chunk.file, lease.chunk.index, lease))

    def pop(self, now: float, may: Callable[[Lease], bool] = lambda lease: True) -> Lease | None:
        """The first lease that may be fetched at `now`, and that `may` allows; None where there is none."""
        while self._later and self._later[0][0] <= now:
            _, file, index, lease = heapq.heappop(self._later)
            heapq.heappush(self._ready, (file, index, lease))
        held = []
        found = None
        while self._ready and found is None:
            item = heapq.heappop(self._ready)
            if may(item[2]):
                found = item[2]
            else:
                held.append(item)
        for item in held:
            heapq.heappush(self._ready, item)
        return found

    def next_ready(self) -> float | None:
        """When the next waiting lease may be fetched; None where none waits for a time."""
        return self._later[0][0] if self._later else None

    def drop(self, file: int) -> None:
        """Forget the leases of file number `file`."""
        self._ready = [item for item in self._ready if item[0] != file]
        self._later = [item for item in self._later if item[1] != file]
        heapq.heapify(self._ready)
        heapq.heapify(self._later)

    def __len__(self) -> int:
        return len(self._ready) + len(self._later)


def keeps(entry: FileEntry, opened: OpenedFile) -> bool:
    """May the chunks that are done be completed with new ones?

    With a digest, yes: it decides in the end. Without, only where all came from one mirror under one strong validator;
    chunks of unknown versions do not make a file (RFC 9110 section 13.1.5 asks the same of If-Range).
    """
    if entry.digest is not None or opened.verified or not opened.validators:
        return True
    return len(opened.validators) == 1 and opened.validators[0][1] != ""
