"""The disk's side of a repair: copies of the damaged files, put together, judged and put in place. Blocking."""

from __future__ import annotations

import errno
import os
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path

from modelferry.engine.checkpoint import recovery
from modelferry.engine.checkpoint.api import CommitResult, OpenedFile, OpenResult, VerifyResult, WrittenChunk
from modelferry.engine.checkpoint.chunk_store import read_digests, read_quarantined
from modelferry.engine.checkpoint.digests import BUFFER, Reader, RunningDigest, ShortRead
from modelferry.engine.maintenance.revision_check import FileReport, Report
from modelferry.engine.storage import file_io, layout
from modelferry.engine.storage.space import check_space
from modelferry.engine.storage.tree import Tree
from modelferry.errors import DiskError, SourceChanged
from modelferry.manifest import Chunk, FileEntry, Manifest, chunks_of

#: Deliveries of one chunk as another one than was published, before the source is said to have changed.
_WRONG = 3
#: copy_file_range(2) where it is not there, or not between these files: then the bytes go through this process.
_CANNOT = (errno.EXDEV, errno.ENOSYS, errno.EOPNOTSUPP, errno.EINVAL, errno.EPERM)


@dataclass(slots=True)
class _File:
    """A file at work. ``digests``: BLAKE3 of each chunk as it was published, or None where nobody knows any more;
    ``arrived``: of each chunk's last delivery; ``wrong``: how often a chunk came as another one."""

    entry: FileEntry
    report: FileReport
    chunks: list[Chunk]
    digests: list[bytes] | None
    missing: set[int] = field(default_factory=set)
    arrived: dict[int, bytes] = field(default_factory=dict)
    wrong: dict[int, int] = field(default_factory=dict)
    generation: int = 0
    verified: bool = False


class Repairer:
    """Owns the copies of the damaged files that `report` tells of, in a directory whose lock is held. Blocking.

    A file is put in place as soon as it is whole, whatever becomes of the others.
    """

    def __init__(self, directory: Path, report: Report) -> None:
        self.repaired: list[str] = []
        self._directory = directory
        self._report = report
        self._tree: Tree | None = None
        self._files: list[_File] = []
        self._reader = Reader()

    @property
    def tree(self) -> Tree:
        """The open directory."""
        assert self._tree is not None
        return self._tree

    def close(self) -> None:
        """Let go of the directory. What is not finished stays, for the next repair."""
        if self._tree is not None:
            self._tree.close()
            self._tree = None

    def open(self, manifest: Manifest) -> OpenResult:
        """See api.Checkpoint: a copy of each damaged file, its damaged chunks missing."""
        with disk_errors(self._directory):
            self._tree = Tree(self._directory)
            digests = read_digests(self._directory / layout.DATABASE, manifest.revision)
            reports = {file.path: file for file in self._report.files}
            self._files = [_file_of(entry, reports[entry.path], digests.get(entry.path)) for entry in manifest.files]
            self._make_room(manifest)
            for file in self._files:
                self._assemble(file)
        opened = tuple(OpenedFile(0, False, tuple(sorted(file.missing))) for file in self._files)
        quarantined_mirrors = read_quarantined(self._directory / layout.DATABASE, manifest.revision)
        return OpenResult(str(self._directory), False, opened, quarantined=quarantined_mirrors)

    def commit_chunk(self, chunk: WrittenChunk) -> CommitResult:
        """See api.Checkpoint: the chunk is compared with what was published."""
        file = self._files[chunk.file]
        with disk_errors(self._directory), self._opened(file) as fd:
            if (chunk.generation, chunk.inode) != (file.generation, os.fstat(fd).st_ino):
                return CommitResult(False, "stale")
            try:
                digest = self._reader.digest(fd, file.chunks[chunk.index])
            except (ShortRead, DiskError):
                return CommitResult(False, "disk")
            before = file.arrived.get(chunk.index)
            file.arrived[chunk.index] = digest
            if file.digests is not None and digest != file.digests[chunk.index]:
                self._count_wrong(file, chunk.index, chunk.mirror)
                return CommitResult(False, "digest")
            file_io.fdatasync(fd)
        file.missing.discard(chunk.index)
        return CommitResult(True, changed=before is not None and before != digest)

    def mark_pending(self, file: int, index: int) -> None:
        """See api.Checkpoint."""
        self._files[file].missing.add(index)

    def restart_file(self, file: int, generation: int) -> OpenedFile:
        """See api.Checkpoint: everything that had to be fetched is missing again."""
        state = self._files[file]
        if state.generation == generation:
            with disk_errors(self._directory):
                self.tree.remove(self._copy_of(state))
                self._assemble(state)
            state.generation += 1
        return OpenedFile(state.generation, state.verified, tuple(sorted(state.missing)))

    def verify_file(self, file: int) -> VerifyResult:
        """See api.Checkpoint: a file whose whole digest is right takes the damaged one's place."""
        state = self._files[file]
        if state.missing:
            return VerifyResult(False, missing=tuple(sorted(state.missing)))
        if state.verified:
            return VerifyResult(True)
        with disk_errors(self._directory):
            with self._opened(state) as fd:
                running_digest = RunningDigest.of(state.entry)
                for chunk in state.chunks:
                    self._reader.feed(fd, chunk, (0, running_digest))
                expected, actual = str(state.entry.digest), str(running_digest)
                if actual != expected:
                    state.missing = set(self._wrong(state, fd))
                    missing = tuple(sorted(state.missing))
                    return VerifyResult(False, missing=missing) if missing else VerifyResult(False, expected, actual)
                os.fsync(fd)
            self._put_in_place(state)
        state.verified = True
        self.repaired.append(state.entry.path)
        return VerifyResult(True)

    def publish(self) -> None:
        """See api.Checkpoint: everything stands in its place already."""
        with disk_errors(self._directory):
            self.tree.remove(layout.incoming_path(self._report.revision))

    def _count_wrong(self, file: _File, index: int, mirror: str) -> None:
        times = file.wrong[index] = file.wrong.get(index, 0) + 1
        if times >= _WRONG:
            raise SourceChanged(
                f"{file.entry.path}: chunk {index} came {times} times from {mirror} with other bytes than were"
                " published; the source has another file now (pull it as a new revision), or something on the way"
                " spoils it",
                file=file.entry.path,
            )

    def _make_room(self, manifest: Manifest) -> None:
        """Raise InsufficientSpace before anything is written."""
        there = 0
        for file in self._files:
            status = self.tree.lstat(self._copy_of(file))
            there += min(status.st_blocks * 512, file.entry.size) if status is not None else 0
        check_space(str(self._directory), manifest.size, there, *self.tree.disk_space())

    def _assemble(self, file: _File) -> None:
        """Make the copy of `file`, or go on with the one that a stopped repair left; ``missing`` is what it lacks."""
        status = self.tree.lstat(self._copy_of(file))
        left = status is not None and status.st_size == file.entry.size and file.digests is not None
        if not left:
            recovery.create(self.tree, self._copy_of(file), file.entry.size)
        with self._opened(file) as fd:
            file.missing = set(self._wrong(file, fd)) if left else {chunk.index for chunk in file.chunks}
            if file.report.state != "missing" and file.digests is not None and file.missing:
                self._copy_whole_chunks(file, fd)
            file_io.fdatasync(fd)

    def _copy_whole_chunks(self, file: _File, fd: int) -> None:
        published = self.tree.open(layout.published_path(self._report.revision, file.entry.path), os.O_RDONLY)
        try:
            # Of a file that has another size, nobody has looked at the chunks yet.
            bad = self._wrong(file, published) if file.report.state == "resized" else file.report.bad_chunks
            for index in sorted(file.missing - set(bad)):
                _copy(published, fd, file.chunks[index])
                file.missing.discard(index)
        finally:
            os.close(published)

    def _wrong(self, file: _File, fd: int) -> list[int]:
        """Chunks of the copy that are not what was published; none where nobody knows what the chunks were."""
        return [
            chunk.index
            for chunk, digest in zip(file.chunks, file.digests or (), strict=False)
            if not self._is(fd, chunk, digest)
        ]

    def _is(self, fd: int, chunk: Chunk, digest: bytes) -> bool:
        try:
            return self._reader.digest(fd, chunk) == digest
        except (ShortRead, DiskError):
            return False

    def _put_in_place(self, file: _File) -> None:
        location = layout.published_path(self._report.revision, file.entry.path)
        self.tree.make_directories(location.rpartition("/")[0])
        self.tree.rename(self._copy_of(file), location)

    def _copy_of(self, file: _File) -> str:
        return layout.incoming_path(self._report.revision, file.entry.path)

    @contextmanager
    def _opened(self, file: _File) -> Iterator[int]:
        fd = self.tree.open(self._copy_of(file), os.O_RDWR)
        try:
            yield fd
        finally:
            os.close(fd)


def _file_of(entry: FileEntry, report: FileReport, digests: list[bytes | None] | None) -> _File:
    chunks = list(chunks_of(0, entry.size))
    known = [digest for digest in digests or () if digest is not None]
    return _File(entry, report, chunks, known if len(known) == len(chunks) else None)


def _copy(source: int, target: int, chunk: Chunk) -> None:
    """Copy `chunk` from one file to the other, by the file system alone where it can do that."""
    at = chunk.start
    while at < chunk.end:
        try:
            count = os.copy_file_range(source, target, chunk.end - at, at, at)
        except OSError as error:
            if error.errno not in _CANNOT:
                raise
            break
        if count == 0:
            break
        at += count
    buffer = memoryview(bytearray(BUFFER))
    for piece in file_io.read_range(source, at, chunk.end, buffer):
        file_io.write_at(target, piece, at)
        at += len(piece)


@contextmanager
def disk_errors(directory: Path) -> Iterator[None]:
    """What the operating system says of the disk while `directory` is repaired, as MachineError."""
    try:
        yield
    except OSError as error:
        raise file_io.disk_error(f"repairing {directory}", error) from error
    except ShortRead as error:
        raise DiskError(f"{directory}: a file became shorter while it was read; check the disk") from error
