"""Chunks of one file that are committed together, on the way from written to recorded. Blocking."""

from __future__ import annotations

import hashlib
import os
from dataclasses import dataclass, field, replace

from blake3 import blake3

from modelferry.checkpoint.api import CommitResult, WrittenChunk
from modelferry.checkpoint.chunk_store_reader import ChunkRow
from modelferry.checkpoint.content_check import mistaken_file
from modelferry.checkpoint.digests import ChunkReader, Hasher, PrefixHasher, ShortRead
from modelferry.checkpoint.file_states import FileState
from modelferry.errors import DiskError
from modelferry.storage import file_io


@dataclass(frozen=True, slots=True)
class CheckedChunk:
    """A chunk that was read back. ``row``: as it will be committed. ``changed``: as in CommitResult."""

    row: ChunkRow
    changed: bool


@dataclass(slots=True)
class CommitBatch:
    """Chunks of one file, and what became of them; all by their number in the request. ``fd``: of the file.

    A chunk is in ``written`` first. It ends in ``checked`` if it may be committed, and in ``results`` if not.
    """

    state: FileState
    fd: int
    written: dict[int, WrittenChunk]
    checked: dict[int, CheckedChunk] = field(default_factory=dict)
    results: dict[int, CommitResult] = field(default_factory=dict)

    def reject_stale(self) -> None:
        """Reject chunks of another generation or inode, and those that a failed sync may have lost."""
        current = (self.state.generation, os.fstat(self.fd).st_ino)
        for number, chunk in list(self.written.items()):
            if (chunk.generation, chunk.inode) != current:
                reason = "stale"
            elif chunk.index in self.state.unsynced:
                self.state.unsynced.remove(chunk.index)
                reason = "disk"
            else:
                continue
            self.results[number] = CommitResult(False, reason)
            del self.written[number]

    def start_writeback(self) -> None:
        """Make the kernel start to write the chunks back, so that the sync has less to do."""
        for written in self.written.values():
            chunk = self.state.chunk(written.index)
            file_io.start_writeback(self.fd, chunk.start, chunk.end)

    def read_back(self, reader: ChunkReader) -> None:
        """Hash every chunk, and compare the digests that the server declared."""
        for number, chunk in self.written.items():
            checked = self._check(reader, chunk)
            if isinstance(checked, CommitResult):
                self.results[number] = checked
            else:
                self.checked[number] = checked

    def discard_unsynced(self) -> None:
        """Reject all chunks, because the sync failed.

        It is not repeated: the kernel marked the pages clean, so another sync would succeed without the data. The
        kernel does not say which pages it lost, so chunks that are being written now may be lost as well.
        """
        written = {chunk.index for chunk in self.written.values()}
        self.state.unsynced |= set(self.state.missing()) - written
        self.state.running_digest.reset()
        self.results |= dict.fromkeys(self.checked, CommitResult(False, "disk"))
        self.checked.clear()

    @property
    def completes_file(self) -> bool:
        """Do these chunks complete the file, with the right digest? Only if its running digest reached the end."""
        state, expected = self.state, self.state.entry.digest
        if state.verified or state.phase == "repairing" or state.running_digest.next < len(state.rows):
            return False
        done = {item.row.index for item in self.checked.values()}
        return all(row.done or row.index in done for row in state.rows) and (
            str(state.running_digest) == str(expected) if expected else not mistaken_file(self.fd, state.entry)
        )

    def mark_done(self) -> None:
        """After the checked chunks were committed."""
        for number, item in self.checked.items():
            self.state.mark_done(item.row)
            self.results[number] = CommitResult(True, changed=item.changed)

    def _check(self, reader: ChunkReader, written: WrittenChunk) -> CheckedChunk | CommitResult:
        state = self.state
        digest = blake3()
        hashers: list[tuple[int, Hasher]] = [(0, digest)]
        declared = [(start, PrefixHasher(hashlib.sha256(), end - start), sha) for start, end, sha in written.digests]
        hashers += [(start, hasher) for start, hasher, _ in declared]
        in_order = written.index == state.running_digest.next and state.phase != "repairing"
        if in_order:
            hashers.append((0, state.running_digest))
        reason = ""
        try:
            reader.feed(self.fd, state.chunk(written.index), *hashers)
        except (ShortRead, DiskError):
            reason = "disk"
        if not reason and any(hasher.hexdigest() != sha for _, hasher, sha in declared):
            reason = "digest"
        if reason:
            if in_order:
                state.running_digest.reset()
            return CommitResult(False, reason)
        if in_order:
            state.running_digest.next += 1
        before = state.rows[written.index]
        changed = written.index in state.refetched and before.digest != digest.digest()
        row = replace(
            before,
            done=True,
            etag=written.validator,
            mirror=written.mirror,
            generation=written.generation,
            digest=digest.digest(),
        )
        return CheckedChunk(row, changed)
