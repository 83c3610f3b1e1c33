"""Sizes as text."""

from __future__ import annotations

import pytest

from modelferry.values.sizes import size_text


@pytest.mark.parametrize(
    ("size", "text"),
    [(17, "17 bytes"), (1024, "1 KiB"), (1536, "1.5 KiB"), (3_972_844_748, "3.7 GiB"), (512 << 20, "512 MiB")],
)
def test_a_size_has_a_binary_unit(size: int, text: str) -> None:
    assert size_text(size) == text
