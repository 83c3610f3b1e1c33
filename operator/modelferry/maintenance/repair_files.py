"""The disk side of a repair: copies of the damaged files are assembled, verified, and put in place. Blocking."""

from __future__ import annotations

import errno
import os
from contextlib import AbstractContextManager
from dataclasses import dataclass, field
from pathlib import Path

from modelferry.checkpoint import hub_links, published_revisions, recovery
from modelferry.checkpoint.api import CommitResult, OpenedFile, OpenResult, VerifyResult, WrittenChunk
from modelferry.checkpoint.chunk_store_reader import read_digests, read_quarantined
from modelferry.checkpoint.digests import BUFFER, ChunkReader, RunningDigest, ShortRead
from modelferry.checkpoint.disk_errors import disk_errors
from modelferry.errors import DiskError, SourceChanged
from modelferry.maintenance.revision_check import FileReport, RevisionReport
from modelferry.manifest import Chunk, FileEntry, Manifest, chunks_of
from modelferry.storage import file_io, layout
from modelferry.storage.space import allocated_bytes, check_space
from modelferry.storage.tree import Tree

#: How often a chunk may arrive with other bytes than were published, before the source counts as changed.
_MAX_MISMATCHES = 3
#: Errors of copy_file_range(2) if it is missing, or impossible between these files. Then this process copies.
_CANNOT_COPY = (errno.EXDEV, errno.ENOSYS, errno.EOPNOTSUPP, errno.EINVAL, errno.EPERM)


@dataclass(slots=True)
class _DamagedFile:
    """A file that is repaired. ``digests``: BLAKE3 of each chunk as it was published, or None if they are unknown.
    ``missing``: chunks that the copy lacks. ``received``: BLAKE3 of each chunk that arrived, the last time.
    ``mismatches``: how often each chunk arrived with another BLAKE3 than was published."""

    entry: FileEntry
    report: FileReport
    chunks: list[Chunk]
    digests: list[bytes] | None
    missing: set[int] = field(default_factory=set)
    received: dict[int, bytes] = field(default_factory=dict)
    mismatches: dict[int, int] = field(default_factory=dict)
    generation: int = 0
    verified: bool = False

    @classmethod
    def of(cls, entry: FileEntry, report: FileReport, digests: list[bytes | None] | None) -> _DamagedFile:
        """`digests`: as in chunks.db, which is used only if it has those of all chunks."""
        chunks = list(chunks_of(0, entry.size))
        known = [digest for digest in digests or () if digest is not None]
        return cls(entry, report, chunks, known if len(known) == len(chunks) else None)

    def opened(self) -> OpenedFile:
        """The state as the fetching side gets it."""
        return OpenedFile(self.generation, self.verified, tuple(sorted(self.missing)))


class Repairer:
    """Owns the copies of the damaged files in `report`, in a directory whose lock the caller holds. Blocking. The
    methods of `api.Checkpoint` do what is described there.

    A file is put in place as soon as it is complete, independently of the others.
    """

    def __init__(self, directory: Path, report: RevisionReport) -> None:
        self.repaired: list[str] = []
        self._directory = directory
        self._report = report
        self._tree: Tree | None = None
        self._files: list[_DamagedFile] = []
        self._reader = ChunkReader()

    @property
    def tree(self) -> Tree:
        """The open directory."""
        assert self._tree is not None
        return self._tree

    def close(self) -> None:
        """Close the directory. Incomplete copies stay, for the next repair."""
        if self._tree is not None:
            self._tree.close()
            self._tree = None

    def open(self, manifest: Manifest) -> OpenResult:
        """See api.Checkpoint. Creates a copy of each damaged file; its damaged chunks are missing."""
        database = self._directory / layout.DATABASE
        with self._disk_errors():
            self._tree = Tree(self._directory)
            digests = read_digests(database, manifest.revision)
            reports = {file.path: file for file in self._report.files}
            self._files = [
                _DamagedFile.of(entry, reports[entry.path], digests.get(entry.path)) for entry in manifest.files
            ]
            self._check_space(manifest)
            for file in self._files:
                self._assemble(file)
        opened = tuple(file.opened() for file in self._files)
        return OpenResult(
            str(self._directory), False, opened, quarantined=read_quarantined(database, manifest.revision)
        )

    def commit_chunk(self, chunk: WrittenChunk) -> CommitResult:
        """See api.Checkpoint. Compares the chunk with what was published. Raises SourceChanged."""
        file = self._files[chunk.file]
        with self._disk_errors(), self._opened(file) as fd:
            if (chunk.generation, chunk.inode) != (file.generation, os.fstat(fd).st_ino):
                return CommitResult(False, "stale")
            try:
                digest = self._reader.digest(fd, file.chunks[chunk.index])
            except (ShortRead, DiskError):
                return CommitResult(False, "disk")
            before = file.received.get(chunk.index)
            file.received[chunk.index] = digest
            if file.digests is not None and digest != file.digests[chunk.index]:
                self._count_mismatch(file, chunk.index, chunk.mirror)
                return CommitResult(False, "digest")
            file_io.fdatasync(fd)
        file.missing.discard(chunk.index)
        return CommitResult(True, changed=before is not None and before != digest)

    def mark_pending(self, file: int, index: int) -> None:
        """See api.Checkpoint."""
        self._files[file].missing.add(index)

    def restart_file(self, file: int, generation: int) -> OpenedFile:
        """See api.Checkpoint. The damaged chunks are missing again; the intact ones are copied again."""
        damaged = self._files[file]
        if damaged.generation == generation:
            with self._disk_errors():
                self.tree.remove(self._copy_path(damaged))
                self._assemble(damaged)
            damaged.generation += 1
        return damaged.opened()

    def verify_file(self, file: int) -> VerifyResult:
        """See api.Checkpoint. A copy with the right digest replaces the damaged file."""
        damaged = self._files[file]
        if damaged.missing:
            return VerifyResult(False, missing=tuple(sorted(damaged.missing)))
        if damaged.verified:
            return VerifyResult(True)
        with self._disk_errors():
            with self._opened(damaged) as fd:
                running_digest = RunningDigest.of(damaged.entry)
                for chunk in damaged.chunks:
                    self._reader.feed(fd, chunk, (0, running_digest))
                expected, actual = str(damaged.entry.digest), str(running_digest)
                if actual != expected:
                    damaged.missing = set(self._bad_chunks(damaged, fd))
                    missing = tuple(sorted(damaged.missing))
                    return VerifyResult(False, missing=missing) if missing else VerifyResult(False, expected, actual)
                os.fsync(fd)
            self._put_in_place(damaged)
        damaged.verified = True
        self.repaired.append(damaged.entry.path)
        return VerifyResult(True)

    def publish(self) -> None:
        """See api.Checkpoint. All files are in place already; only the directory of the copies is removed."""
        with self._disk_errors():
            self.tree.remove(layout.incoming_path(self._report.revision))

    def _count_mismatch(self, file: _DamagedFile, index: int, mirror: str) -> None:
        count = file.mismatches[index] = file.mismatches.get(index, 0) + 1
        if count >= _MAX_MISMATCHES:
            raise SourceChanged(
                f"{file.entry.path}: chunk {index} arrived {count} times from {mirror} with other bytes than were"
                " published: the source has another file now, or something on the network path corrupts it; pull the"
                " model as a new revision, or check proxies and caches",
                file=file.entry.path,
            )

    def _check_space(self, manifest: Manifest) -> None:
        """Raise InsufficientSpace before anything is written."""
        allocated = 0
        for file in self._files:
            status = self.tree.lstat(self._copy_path(file))
            allocated += min(allocated_bytes(status), file.entry.size) if status is not None else 0
        check_space(str(self._directory), manifest.size, allocated, *self.tree.disk_space())

    def _assemble(self, file: _DamagedFile) -> None:
        """Create the copy of `file`, or continue with the one that a stopped repair left. Sets ``missing``."""
        status = self.tree.lstat(self._copy_path(file))
        is_left = status is not None and status.st_size == file.entry.size and file.digests is not None
        if not is_left:
            recovery.create_file(self.tree, self._copy_path(file), file.entry.size)
        with self._opened(file) as fd:
            file.missing = set(self._bad_chunks(file, fd)) if is_left else {chunk.index for chunk in file.chunks}
            if file.report.state != "missing" and file.digests is not None and file.missing:
                self._copy_intact_chunks(file, fd)
            file_io.fdatasync(fd)

    def _copy_intact_chunks(self, file: _DamagedFile, fd: int) -> None:
        path = f"{published_revisions.location(self.tree, self._report.revision)}/{file.entry.path}"
        with self.tree.opened(path, os.O_RDONLY) as published:
            # The verification does not check the chunks of a file that has another size.
            bad = self._bad_chunks(file, published) if file.report.state == "resized" else file.report.bad_chunks
            for index in sorted(file.missing - set(bad)):
                _copy(published, fd, file.chunks[index])
                file.missing.discard(index)

    def _bad_chunks(self, file: _DamagedFile, fd: int) -> list[int]:
        """Chunks of the open file that differ from what was published; none if that is unknown."""
        return [
            chunk.index
            for chunk, digest in zip(file.chunks, file.digests or (), strict=False)
            if not self._reader.is_intact(fd, chunk, digest)
        ]

    def _put_in_place(self, file: _DamagedFile) -> None:
        path = f"{published_revisions.location(self.tree, self._report.revision)}/{file.entry.path}"
        self.tree.make_directories(path.rpartition("/")[0])
        self.tree.rename(self._copy_path(file), path)
        hub_links.restore_links(self.tree, self._report.revision, [file.entry.path])

    def _copy_path(self, file: _DamagedFile) -> str:
        return layout.incoming_path(self._report.revision, file.entry.path)

    def _opened(self, file: _DamagedFile) -> AbstractContextManager[int]:
        return self.tree.opened(self._copy_path(file), os.O_RDWR)

    def _disk_errors(self) -> AbstractContextManager[None]:
        return disk_errors(f"repairing {self._directory}")


def _copy(source: int, target: int, chunk: Chunk) -> None:
    """Copy `chunk` from one file to the other, inside the file system if it can."""
    offset = chunk.start
    while offset < chunk.end:
        try:
            count = os.copy_file_range(source, target, chunk.end - offset, offset, offset)
        except OSError as error:
            if error.errno not in _CANNOT_COPY:
                raise
            break
        if count == 0:
            break
        offset += count
    buffer = memoryview(bytearray(BUFFER))
    for piece in file_io.read_range(source, offset, chunk.end, buffer):
        file_io.write_at(target, piece, offset)
        offset += len(piece)
