"""Memory of connections."""

from __future__ import annotations

import pytest

from modelferry.http.transport.connection import buffer_size

MIB = 1 << 20


@pytest.mark.parametrize("connections", [1, 4, 16, 17, 64, 128])
def test_all_buffers_together_are_bounded_whatever_the_number_of_connections(connections: int) -> None:
    size = buffer_size(connections)
    assert 16 * 1024 <= size <= 256 * 1024
    assert connections * size <= 4 * MIB


def test_at_the_default_number_the_calls_for_a_buffer_are_cheap() -> None:
    assert buffer_size(16) == 256 * 1024
