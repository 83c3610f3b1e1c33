"""Digests of the bytes on the disk: of chunks, and of files as far as their chunks are done in order. Blocking."""

from __future__ import annotations

import hashlib
from typing import Protocol

from blake3 import blake3

from modelferry.errors import DiskError
from modelferry.manifest import Chunk, FileEntry
from modelferry.manifest.entries import GIT_SHA1
from modelferry.storage.file_io import read_range

#: Bytes of one read. More than 1 MiB does not make reading faster, and takes memory.
BUFFER = 1024 * 1024


class Hasher(Protocol):
    """The common method of the hashers of hashlib and blake3, of PrefixHasher and of RunningDigest."""

    def update(self, data: memoryview, /) -> object:
        """Hash `data` after what was hashed before."""


class PrefixHasher:
    """Hashes the first `length` bytes that it gets, and ignores the others."""

    def __init__(self, hasher: hashlib._Hash, length: int) -> None:
        self._hasher = hasher
        self._left = length

    def update(self, data: memoryview, /) -> None:
        """See Hasher."""
        if self._left > 0:
            self._hasher.update(data[: self._left])
            self._left -= len(data)

    def hexdigest(self) -> str:
        """The digest of the bytes so far, in hex."""
        return self._hasher.hexdigest()


class ShortRead(Exception):
    """The file ends before the chunk does."""


class RunningDigest:
    """The digest of a file that grows as its chunks are done in order. ``next``: index of the next chunk."""

    def __init__(self, algorithm: str, size: int) -> None:
        """`size`: bytes of the file."""
        self.algorithm, self._size = algorithm, size
        self.reset()

    @classmethod
    def of(cls, entry: FileEntry) -> RunningDigest:
        """With the algorithm of the declared digest. A file without one gets SHA-256, to be recorded."""
        return cls(entry.digest.algorithm if entry.digest else "sha256", entry.size)

    def reset(self) -> None:
        """Start again with chunk 0, because a chunk before ``next`` changed."""
        self.next = 0
        self._hasher = _file_hasher(self.algorithm, self._size)

    def update(self, data: memoryview, /) -> None:
        """See Hasher; `data` is of chunk ``next``. The caller increments ``next`` after the chunk."""
        self._hasher.update(data)

    def __str__(self) -> str:
        return f"{self.algorithm}:{self._hasher.hexdigest()}"


def _file_hasher(algorithm: str, size: int) -> hashlib._Hash:
    """The hasher of a file of `size` bytes, before its first byte. Git hashes a header with the size first."""
    if algorithm == GIT_SHA1:
        return hashlib.sha1(b"blob %d\0" % size, usedforsecurity=False)
    return hashlib.new(algorithm, usedforsecurity=False)


class ChunkReader:
    """Reads chunks through one buffer, so its memory does not depend on the file."""

    def __init__(self) -> None:
        self._buffer = memoryview(bytearray(BUFFER))

    def feed(self, fd: int, chunk: Chunk, *hashers: tuple[int, Hasher]) -> None:
        """Read `chunk` once, and give its bytes to every (start, hasher) from file offset `start` on. Raises ShortRead,
        DiskError."""
        offset = chunk.start
        for piece in read_range(fd, chunk.start, chunk.end, self._buffer):
            for start, hasher in hashers:
                hasher.update(piece[max(0, start - offset) :])
            offset += len(piece)
        if offset != chunk.end:
            raise ShortRead

    def digest(self, fd: int, chunk: Chunk) -> bytes:
        """BLAKE3 of `chunk`. Raises ShortRead, DiskError."""
        hasher = blake3()
        self.feed(fd, chunk, (0, hasher))
        return hasher.digest()

    def is_intact(self, fd: int, chunk: Chunk, digest: bytes | None) -> bool:
        """Can `chunk` be read, and is its BLAKE3 `digest`?"""
        try:
            return self.digest(fd, chunk) == digest
        except (ShortRead, DiskError):
            return False
