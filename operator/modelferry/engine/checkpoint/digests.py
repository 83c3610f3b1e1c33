"""Digests of what is on the disk: of chunks, and of whole files as far as they are done in order. Blocking."""

from __future__ import annotations

import hashlib
from typing import Protocol

from blake3 import blake3

from modelferry.engine.storage.file_io import read_range
from modelferry.manifest import Chunk, FileEntry
from modelferry.manifest.entries import GIT_SHA1

#: Bytes read at a time: beyond 1 MiB reading gets no faster, and the process must stay small.
BUFFER = 1024 * 1024


class Hasher(Protocol):
    """hashlib's and blake3's, and a Frontier."""

    def update(self, data: memoryview, /) -> object:
        """Take in `data`."""


class Bounded:
    """Takes in the first `length` bytes that come, and passes over the others."""

    def __init__(self, hasher: hashlib._Hash, length: int) -> None:
        self._hasher = hasher
        self._left = length

    def update(self, data: memoryview, /) -> None:
        """More of it."""
        if self._left > 0:
            self._hasher.update(data[: self._left])
            self._left -= len(data)

    def hexdigest(self) -> str:
        """Of what was taken in."""
        return self._hasher.hexdigest()


class ShortRead(Exception):
    """The file ends before the chunk does."""


class RunningDigest:
    """The whole-file digest of a file's chunks from 0 to ``next``, grown as they are done."""

    def __init__(self, algorithm: str, size: int) -> None:
        """`size`: the whole file's bytes."""
        self.algorithm, self._size = algorithm, size
        self.reset()

    @classmethod
    def of(cls, entry: FileEntry) -> RunningDigest:
        """By the algorithm of the declared digest; a file whose digest nobody declared gets one, to be recorded."""
        return cls(entry.digest.algorithm if entry.digest else "sha256", entry.size)

    def reset(self) -> None:
        """Begin again: something below ``next`` changed."""
        self.next = 0
        self._hasher = _whole(self.algorithm, self._size)

    def update(self, data: memoryview, /) -> None:
        """More of chunk ``next``."""
        self._hasher.update(data)

    def __str__(self) -> str:
        return f"{self.algorithm}:{self._hasher.hexdigest()}"


def _whole(algorithm: str, size: int) -> hashlib._Hash:
    """The hasher of a whole file of `size` bytes, before the first of them."""
    if algorithm == GIT_SHA1:
        return hashlib.sha1(b"blob %d\0" % size, usedforsecurity=False)
    return hashlib.new(algorithm, usedforsecurity=False)


class Reader:
    """Reads chunks through one buffer, so that memory does not depend on the file."""

    def __init__(self) -> None:
        self._buffer = memoryview(bytearray(BUFFER))

    def feed(self, fd: int, chunk: Chunk, *hashers: tuple[int, Hasher]) -> None:
        """Give the bytes of `chunk` to each (start, hasher), beginning at file offset start. Raises ShortRead,
        DiskError."""
        at = chunk.start
        for piece in read_range(fd, chunk.start, chunk.end, self._buffer):
            for start, hasher in hashers:
                hasher.update(piece[max(0, start - at) :])
            at += len(piece)
        if at != chunk.end:
            raise ShortRead

    def digest(self, fd: int, chunk: Chunk) -> bytes:
        """BLAKE3 of the bytes of `chunk`; raises ShortRead, DiskError."""
        hasher = blake3()
        self.feed(fd, chunk, (0, hasher))
        return hasher.digest()
