"""Chunks cover a file."""

from __future__ import annotations

import pytest

from modelferry.manifest import CHUNK_SIZE, chunk_count, chunks_of


def test_chunks_cover_a_file_without_gap_or_overlap() -> None:
    size = 2 * CHUNK_SIZE + 1
    chunks = list(chunks_of(3, size))
    assert [(c.file, c.index, c.start, c.end) for c in chunks] == [
        (3, 0, 0, CHUNK_SIZE),
        (3, 1, CHUNK_SIZE, 2 * CHUNK_SIZE),
        (3, 2, 2 * CHUNK_SIZE, size),
    ]
    assert sum(c.size for c in chunks) == size


@pytest.mark.parametrize(("size", "count"), [(0, 0), (1, 1), (CHUNK_SIZE, 1), (CHUNK_SIZE + 1, 2)])
def test_a_file_has_as_many_chunks_as_it_fills(size: int, count: int) -> None:
    assert chunk_count(size) == len(list(chunks_of(0, size))) == count
