"""Is what was published still what was verified? Reads everything, changes nothing. Blocking.

Each chunk is compared with the BLAKE3 that chunks.db has of it, so that damage is told by its place; where chunks.db
does not help (it was lost, or the revision was copied here), each file is compared with the whole digest in the READY
marker.
"""

from __future__ import annotations

import os
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from modelferry.engine.checkpoint import ready_marker
from modelferry.engine.checkpoint.chunk_store import read_digests
from modelferry.engine.checkpoint.digests import Reader, RunningDigest, ShortRead
from modelferry.engine.storage import layout
from modelferry.engine.storage.tree import Tree
from modelferry.errors import DiskError, UserError
from modelferry.manifest import Chunk, Digest, chunks_of


@dataclass(frozen=True, slots=True)
class FileReport:
    """One file; ``state`` is ok, damaged, missing or resized. ``bad_chunks`` are those whose bytes are not what was
    verified (empty where only the whole digest is known). ``digest``: algorithm:hex of the whole file, when it was
    published."""

    path: str
    size: int
    state: str
    bad_chunks: tuple[int, ...] = ()
    digest: str = ""


@dataclass(frozen=True, slots=True)
class Report:
    """The revision that ``current`` points at, and its files as they are now."""

    revision: str
    files: tuple[FileReport, ...]

    @property
    def ok(self) -> bool:
        """Is every file what was verified?"""
        return not self.damaged

    @property
    def damaged(self) -> tuple[FileReport, ...]:
        """Files that are not."""
        return tuple(file for file in self.files if file.state != "ok")

    @property
    def bytes(self) -> int:
        """Of all files."""
        return sum(file.size for file in self.files)


def verify(directory: Path, *, seen: Callable[[int], None] = lambda count: None) -> Report:
    """Hash every file of the revision that is current in `directory`; `seen` is told of every so many bytes.

    Raises UserError where nothing is published there, and DiskError where the directory cannot be read.
    """
    try:
        tree = Tree(directory)
    except OSError as error:
        raise UserError(f"{directory}: {error.strerror or error}", reason="NotPublished") from error
    try:
        revision = ready_marker.current(tree)
        marker = ready_marker.read(tree, revision) if revision else None
        if revision is None or marker is None:
            raise UserError(
                f"{directory} holds no published model; pull one there, or give the directory above current",
                reason="NotPublished",
            )
        digests = read_digests(directory / layout.DATABASE, revision)
        reader = Reader()
        files = tuple(_verify_file(tree, reader, revision, file, digests.get(file.path), seen) for file in marker.files)
        return Report(revision, files)
    except OSError as error:
        raise DiskError(f"{directory}: {error.strerror or error}; check the disk") from error
    finally:
        tree.close()


def _verify_file(
    tree: Tree,
    reader: Reader,
    revision: str,
    file: ready_marker.ReadyFile,
    digests: list[bytes | None] | None,
    seen: Callable[[int], None],
) -> FileReport:
    def found(state: str, bad: tuple[int, ...] = ()) -> FileReport:
        return FileReport(file.path, file.size, state, bad, file.digest)

    location = layout.published_path(revision, file.path)
    status = tree.lstat(location)
    if status is None:
        return found("missing")
    if status.st_size != file.size:
        return found("resized")
    chunks = list(chunks_of(0, file.size))
    fd = tree.open(location, os.O_RDONLY)
    try:
        if digests is not None and len(digests) == len(chunks) and None not in digests:
            bad = []
            for chunk, digest in zip(chunks, digests, strict=True):
                if not _same(reader, fd, chunk, digest):
                    bad.append(chunk.index)
                seen(chunk.size)
            return found("damaged" if bad else "ok", tuple(bad))
        return found("ok" if _same_whole(reader, fd, chunks, file, seen) else "damaged")
    finally:
        os.close(fd)


def _same(reader: Reader, fd: int, chunk: Chunk, digest: bytes | None) -> bool:
    try:
        return reader.digest(fd, chunk) == digest
    except (ShortRead, DiskError):
        return False


def _same_whole(
    reader: Reader, fd: int, chunks: list[Chunk], file: ready_marker.ReadyFile, seen: Callable[[int], None]
) -> bool:
    running_digest = RunningDigest(Digest.parse(file.digest).algorithm, file.size)
    try:
        for chunk in chunks:
            reader.feed(fd, chunk, (0, running_digest))
            seen(chunk.size)
    except (ShortRead, DiskError):
        return False
    return str(running_digest) == file.digest
