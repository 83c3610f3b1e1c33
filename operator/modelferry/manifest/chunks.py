"""Chunks: the unit of download, verification and repair."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

#: 16 MiB: small enough to fetch a lost one again in seconds on a slow network, large enough that 3.7 GB are 221 rows.
CHUNK_SIZE = 16 * 1024 * 1024
#: Bytes of the largest chunk that is called small: a connection delivers it within a few round trips.
SMALL_CHUNK = 256 * 1024


@dataclass(frozen=True, slots=True)
class Chunk:
    """Bytes ``start`` to ``end`` (exclusive) of file number ``file`` of a manifest; ``index`` counts from 0."""

    file: int
    index: int
    start: int
    end: int

    @property
    def size(self) -> int:
        """Bytes."""
        return self.end - self.start


def chunk_count(size: int) -> int:
    """How many chunks a file of `size` bytes has; an empty file has none."""
    return -(-size // CHUNK_SIZE)


def chunks_of(file: int, size: int) -> Iterator[Chunk]:
    """The chunks of file number `file` of `size` bytes, in order."""
    for index in range(chunk_count(size)):
        start = index * CHUNK_SIZE
        yield Chunk(file, index, start, min(start + CHUNK_SIZE, size))
