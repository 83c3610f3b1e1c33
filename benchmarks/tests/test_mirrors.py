"""The table that `python -m benchmarks mirrors` prints for a run."""

from __future__ import annotations

from benchmarks.mirrors import Run, Share, table

SHARES = (Share("slow", 10_000_000, 200_000_000, "Up"), Share("fast", 40_000_000, 850_000_000, "Quarantined"))


def test_the_total_rate_counts_the_file_and_not_the_bytes_sent() -> None:
    slow, fast, total = table(Run("two mirrors", 25.0, 1_000_000_000, True, SHARES)).splitlines()[2:]
    assert slow.split() == ["slow", "10", "MB/s", "200", "MB", "8.0", "MB/s", "Up"]
    assert fast.split() == ["fast", "40", "MB/s", "850", "MB", "34.0", "MB/s", "Quarantined"]
    assert total.split() == ["total", "50", "MB/s", "1000", "MB", "40.0", "MB/s", "the", "file", "is", "correct"]


def test_a_wrong_file_is_reported_in_capitals() -> None:
    assert table(Run("two mirrors", 25.0, 1_000_000_000, False, SHARES)).endswith("the file is WRONG\n")
