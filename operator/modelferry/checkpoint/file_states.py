"""The state of each file of the manifest, in memory. It repeats chunks.db, and changes only after it."""

from __future__ import annotations

from dataclasses import dataclass, field, replace

from modelferry.checkpoint.api import OpenedFile
from modelferry.checkpoint.chunk_store_reader import ChunkRow, FileRow
from modelferry.checkpoint.digests import RunningDigest
from modelferry.manifest import Chunk, FileEntry


@dataclass(slots=True)
class FileState:
    """One file of the manifest. ``id``: of its row. ``done``: bytes of the chunks that are done. ``phase``: as in
    messages.FileProgress. ``mismatch``: all chunks are done, but the digest differs from the declared one."""

    number: int
    entry: FileEntry
    id: int
    generation: int
    verified: bool
    rows: list[ChunkRow]
    running_digest: RunningDigest
    done: int = 0
    phase: str = "pending"
    mismatch: bool = False
    #: Chunks that were done and are fetched again, to find the one that differs.
    refetched: set[int] = field(default_factory=set)
    #: Chunks that were not done when a sync of the file failed: their bytes in the page cache may be lost.
    unsynced: set[int] = field(default_factory=set)

    @classmethod
    def of(cls, number: int, entry: FileEntry, row: FileRow, rows: list[ChunkRow]) -> FileState:
        """The state that chunks.db has."""
        state = cls(number, entry, row.id, row.generation, row.verified, rows, RunningDigest.of(entry))
        state.recount()
        return state

    def recount(self) -> None:
        """Compute ``done`` and ``phase`` from the rows."""
        self.done = sum(row.end - row.start for row in self.rows if row.done)
        self.phase = "verified" if self.verified else "fetching" if self.done else "pending"

    def chunk(self, index: int) -> Chunk:
        """Chunk `index` of the file."""
        row = self.rows[index]
        return Chunk(self.number, index, row.start, row.end)

    def missing(self) -> tuple[int, ...]:
        """Indices of the chunks that are not done."""
        return tuple(row.index for row in self.rows if not row.done)

    def mark_done(self, row: ChunkRow) -> None:
        """After `row` was committed as done."""
        if not self.rows[row.index].done:
            self.done += row.end - row.start
        self.rows[row.index] = row
        self.refetched.discard(row.index)
        if not self.verified and self.phase != "repairing":
            self.phase = "fetching"

    def mark_pending(self, index: int) -> None:
        """After chunk `index` was committed as pending."""
        row = self.rows[index]
        if row.done:
            self.done -= row.end - row.start
        self.rows[index] = replace(row, done=False)
        self.verified = False
        if index < self.running_digest.next:
            self.running_digest.reset()

    def mark_restarted(self, generation: int) -> None:
        """After a new `generation` was committed, with all chunks pending."""
        self.generation = generation
        self.verified = False
        self.rows = [replace(row, done=False, etag="", mirror="", digest=None) for row in self.rows]
        self.refetched.clear()
        self.unsynced.clear()
        self.running_digest.reset()
        self.recount()

    def mark_verified(self) -> None:
        """After the digest of the file was committed."""
        self.verified = True
        self.mismatch = False
        self.phase = "verified"

    def opened(self) -> OpenedFile:
        """The state as the fetching side gets it."""
        validators = sorted({(row.mirror, row.etag) for row in self.rows if row.done})
        return OpenedFile(self.generation, self.verified, self.missing(), tuple(validators))
