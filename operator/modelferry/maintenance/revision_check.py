"""Verifies that published files are still what was published. Reads everything, and changes nothing. Blocking.

Each chunk is compared with its BLAKE3 in chunks.db, which shows the damaged chunks. Without them (chunks.db was lost,
or the revision was copied from another machine), each file is compared with its digest in the READY marker.
"""

from __future__ import annotations

import os
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path

from modelferry.checkpoint import hub_links, published_revisions
from modelferry.checkpoint.chunk_store_reader import read_digests
from modelferry.checkpoint.digests import ChunkReader, RunningDigest, ShortRead
from modelferry.checkpoint.ready_marker import ReadyFile
from modelferry.errors import DiskError, UserError
from modelferry.manifest import Chunk, Digest, chunks_of
from modelferry.storage import layout
from modelferry.storage.tree import Tree


@dataclass(frozen=True, slots=True)
class FileReport:
    """One file. ``state``: ok, damaged, missing, resized, or unlinked (intact, but not in the Hugging Face layout).
    ``bad_chunks``: indices of the chunks that differ from what was published; empty if only the digest of the file
    is known. ``digest``: algorithm:hex of the file as it was published. ``checksum``: as in `ReadyFile`."""

    path: str
    size: int
    state: str
    bad_chunks: tuple[int, ...] = ()
    digest: str = ""
    checksum: str = "verified"


@dataclass(frozen=True, slots=True)
class RevisionReport:
    """The revision that ``current`` points at, and its files as they are now."""

    revision: str
    files: tuple[FileReport, ...]

    @property
    def ok(self) -> bool:
        """Do all files match what was published?"""
        return not self.damaged

    @property
    def damaged(self) -> tuple[FileReport, ...]:
        """Files that differ, or are missing."""
        return tuple(file for file in self.files if file.state != "ok")

    @property
    def bytes(self) -> int:
        """The size of all files."""
        return sum(file.size for file in self.files)


def verify(directory: Path, *, on_bytes: Callable[[int], None] = lambda count: None) -> RevisionReport:
    """Hash every file of the current revision in `directory`. `on_bytes` gets the number of bytes after every chunk.

    Raises UserError if nothing is published there, and DiskError if the directory cannot be read.
    """
    try:
        tree = Tree(directory)
    except OSError as error:
        raise UserError(
            f"{directory}: {error.strerror or error}; use the directory that pull got as --to", reason="NotPublished"
        ) from error
    try:
        revision = published_revisions.current_revision(tree)
        marker = published_revisions.read_marker(tree, revision) if revision else None
        if revision is None or marker is None:
            raise UserError(
                f"{directory} holds no published model; pull one there, or use the directory that contains the link"
                " current",
                reason="NotPublished",
            )
        digests = read_digests(directory / layout.DATABASE, revision)
        location = published_revisions.location(tree, revision)
        verifier = _Verifier(tree, location, hub_links.snapshots(tree, revision), on_bytes)
        files = tuple(verifier.verify_file(file, digests.get(file.path)) for file in marker.files)
        return RevisionReport(revision, files)
    except OSError as error:
        raise DiskError(f"{directory}: {error.strerror or error}; check the disk") from error
    finally:
        tree.close()


@dataclass(frozen=True, slots=True)
class _Verifier:
    """Verifies the files of one published revision, in ``directory`` and with hard links in ``snapshots``."""

    tree: Tree
    directory: str
    snapshots: list[str]
    on_bytes: Callable[[int], None]
    reader: ChunkReader = field(default_factory=ChunkReader)

    def verify_file(self, file: ReadyFile, digests: list[bytes | None] | None) -> FileReport:
        """`digests`: BLAKE3 of each chunk, as far as they are known."""
        state, bad_chunks = self._state(file, digests)
        path = f"{self.directory}/{file.path}"
        if state == "ok" and not all(
            hub_links.is_linked(self.tree, path, f"{snapshot}/{file.path}") for snapshot in self.snapshots
        ):
            state = "unlinked"
        return FileReport(file.path, file.size, state, bad_chunks, file.digest, file.checksum)

    def _state(self, file: ReadyFile, digests: list[bytes | None] | None) -> tuple[str, tuple[int, ...]]:
        path = f"{self.directory}/{file.path}"
        status = self.tree.lstat(path)
        if status is None:
            return "missing", ()
        if status.st_size != file.size:
            return "resized", ()
        chunks = list(chunks_of(0, file.size))
        with self.tree.opened(path, os.O_RDONLY) as fd:
            if digests is None or len(digests) != len(chunks) or None in digests:
                return "ok" if self._has_digest(fd, chunks, file) else "damaged", ()
            bad = []
            for chunk, digest in zip(chunks, digests, strict=True):
                if not self.reader.is_intact(fd, chunk, digest):
                    bad.append(chunk.index)
                self.on_bytes(chunk.size)
            return "damaged" if bad else "ok", tuple(bad)

    def _has_digest(self, fd: int, chunks: list[Chunk], file: ReadyFile) -> bool:
        running_digest = RunningDigest(Digest.parse(file.digest).algorithm, file.size)
        try:
            for chunk in chunks:
                self.reader.feed(fd, chunk, (0, running_digest))
                self.on_bytes(chunk.size)
        except (ShortRead, DiskError):
            return False
        return str(running_digest) == file.digest
