"""Statistics over runs."""

from __future__ import annotations

from dataclasses import asdict, replace

from benchmarks.stats import OURS, SHA256SUM, Run, Spread, row_from, rows

SIZE = 2 * 10**9
GOOD = Run("wget", 1, "ok", 10.0, 4.0, 5_000_000, {"main": 7}, 2.0, 1.0, SIZE, 3)


def test_spread_is_the_median_with_the_extremes() -> None:
    assert Spread.of([3.0, 1.0, 2.0]) == Spread(2.0, 1.0, 3.0)
    assert Spread.of([1.0, 2.0]) == Spread(1.5, 1.0, 2.0)
    assert Spread.of([]) is None


def test_a_row_in_megabytes_a_second_and_cpu_seconds_a_gigabyte() -> None:
    (row, _) = rows([GOOD, replace(GOOD, seconds=20.0, cpu=8.0)], SIZE)
    assert row.rate == Spread(150.0, 100.0, 200.0)
    assert row.cpu == Spread(3.0, 2.0, 4.0)


def test_sha256sum_makes_a_row_of_its_own_with_its_time_added() -> None:
    (_, checked) = rows([GOOD], SIZE)
    assert checked.name == "wget" + SHA256SUM
    assert checked.seconds == Spread(12.0, 12.0, 12.0)
    assert checked.cpu == Spread(2.5, 2.5, 2.5)


def test_modelferry_needs_no_sha256sum_after_it() -> None:
    assert [row.name for row in rows([replace(GOOD, tool=OURS)], SIZE)] == [OURS]


def test_a_stopped_run_counts_with_what_it_got() -> None:
    stopped = replace(GOOD, ended="unfinished", served=SIZE // 4, check_seconds=0.0)
    (row,) = rows([stopped], SIZE)
    assert row.rate == Spread(50.0, 50.0, 50.0)
    assert row.cpu == Spread(8.0, 8.0, 8.0)
    assert (row.failures, row.unfinished) == (0, 1)


def test_what_a_stopped_run_got_twice_does_not_make_it_faster() -> None:
    (row,) = rows([replace(GOOD, ended="unfinished", served=5 * SIZE, check_seconds=0.0)], SIZE)
    assert row.rate == Spread(200.0, 200.0, 200.0)


def test_failed_and_wrong_runs_count_as_failures_alone() -> None:
    row, _ = rows([replace(GOOD, ended="failed"), replace(GOOD, ended="wrong")], SIZE)
    assert (row.runs, row.failures, row.seconds, row.rate) == (2, 2, None, None)


def test_peaks_are_the_greatest_of_all_runs() -> None:
    row, _ = rows([GOOD, replace(GOOD, peaks={"main": 9, "other": 1})], SIZE)
    assert row.peaks == {"main": 9, "other": 1}


def test_a_row_survives_json() -> None:
    for row in rows([GOOD, replace(GOOD, tool="curl", ended="failed")], SIZE):
        assert row_from(asdict(row)) == row
