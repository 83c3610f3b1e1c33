"""Rates as users write them."""

from __future__ import annotations

import pytest

from modelferry.values.rates import bit_rate_text, parse_rate


@pytest.mark.parametrize(
    ("text", "rate"),
    [("40Mbit", 5_000_000), ("256kbit", 32_000), ("1Gbit", 125_000_000), ("5MB", 5_000_000), ("5MiB", 5_242_880)],
)
def test_bits_count_by_1000_and_bytes_as_their_unit_says(text: str, rate: int) -> None:
    assert parse_rate(text) == rate


@pytest.mark.parametrize(
    "text", ["", "40", "40M", "40 Mbit", "40mbit", "0Mbit", "-1MB", "1.5MB", "40Mbit/s", "4\u0660kB"]
)
def test_anything_else_is_refused_with_what_it_must_be(text: str) -> None:
    with pytest.raises(ValueError, match="such as 40Mbit or 5MB; not"):
        parse_rate(text)


@pytest.mark.parametrize(
    ("rate", "text"), [(5_000_000, "40 Mbit/s"), (32_000, "256 kbit/s"), (156_250_000, "1.25 Gbit/s"), (5, "40 bit/s")]
)
def test_a_rate_is_shown_as_a_lines(rate: int, text: str) -> None:
    assert bit_rate_text(rate) == text
