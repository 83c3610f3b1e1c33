"""Sizes, rates, counts and durations as text, and durations read from text."""

from __future__ import annotations

import pytest

from modelferry.values.quantities import (
    count_text,
    duration_text,
    parse_duration,
    rate_column,
    rate_text,
    size_column,
    size_text,
)


@pytest.mark.parametrize(
    ("size", "text"),
    [(17, "17 bytes"), (1024, "1 KiB"), (1536, "1.5 KiB"), (3_972_844_748, "3.7 GiB"), (512 << 20, "512 MiB")],
)
def test_a_size_has_a_binary_unit_and_at_most_one_decimal(size: int, text: str) -> None:
    assert size_text(size) == text


@pytest.mark.parametrize(
    ("size", "text"),
    [(17, "17"), (1 << 30, "1.0Gi"), (3_972_844_748, "3.7Gi"), (512 << 20, "512Mi"), (1 << 50, "1.0Pi")],
)
def test_a_size_in_a_column_has_the_suffix_of_a_kubernetes_quantity(size: int, text: str) -> None:
    assert size_column(size) == text


def test_a_rate_is_a_size_per_second() -> None:
    assert rate_text(212 << 20) == "212 MiB/s"
    assert rate_column(50 << 20) == "50.0MiB/s"
    assert rate_column(17) == "17B/s"


def test_a_noun_is_in_the_plural_unless_there_is_one() -> None:
    assert [count_text(count, "file") for count in (0, 1, 2)] == ["0 files", "1 file", "2 files"]
    assert [count_text(count, "retry") for count in (0, 1, 2)] == ["0 retries", "1 retry", "2 retries"]


@pytest.mark.parametrize(
    ("seconds", "text"), [(0, "0s"), (23, "23s"), (60, "1m"), (250, "4m10s"), (7500, "2h5m"), (-1, "0s")]
)
def test_a_duration_has_at_most_two_units(seconds: float, text: str) -> None:
    assert duration_text(seconds) == text
    assert parse_duration(text) == max(seconds, 0)


@pytest.mark.parametrize("text", ["", "s", "5", "5 s", "1d", "m5", "-5s", "1.5h"])
def test_any_other_text_is_not_a_duration(text: str) -> None:
    assert parse_duration(text) is None
