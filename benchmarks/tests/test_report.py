"""Results as tables, and as JSON."""

from __future__ import annotations

import re
from dataclasses import replace
from pathlib import Path

from benchmarks.__main__ import PAGE, benchmarks_page
from benchmarks.goals import GoalResult
from benchmarks.report import page, table, text
from benchmarks.result import Result, read, store
from benchmarks.stats import Run, rows

RUNS = (
    Run("wget", 1, "ok", 2.0, 1.0, 9_000_000, {}, 1.0, 0.5, 10**9, 1),
    Run("wget", 2, "ok", 4.0, 1.0, 9_000_000, {}, 1.0, 0.5, 10**9, 1),
    Run("modelferry", 1, "ok", 1.0, 2.0, 60_000_000, {"fetch": 30_000_000}, served=1_100_000_000, requests=60),
)
RESULT = Result(
    scenario="tls",
    title="A file",
    date="2026-01-02",
    command="python -m benchmarks tls",
    machine={"processor": "2 cores"},
    versions={"wget": "GNU Wget 1.21"},
    commands={"wget": "wget -q"},
    load=0.2,
    files="1 file of 1 GB",
    path="loopback",
    origin="nginx",
    size=10**9,
    timeout=0.0,
    measured_rate=0.0,
    rows=rows(RUNS, 10**9),
    goals=[GoalResult("at least 1x", "3x wget", True), GoalResult("at least 9x", "3x wget", False)],
    runs=list(RUNS),
)


def test_a_table_shows_the_median_and_the_range() -> None:
    head, body = table(RESULT)
    lines = {line[0]: dict(zip(head, line, strict=True)) for line in body}
    assert lines["wget"]["time, s"] == "3.00 (2.00 to 4.00)"
    assert lines["wget + sha256sum"]["time, s"] == "4.00 (3.00 to 5.00)"
    assert lines["modelferry"]["served"] == "1.10"
    assert lines["modelferry"]["peak memory, MB"] == "fetch 30.0"
    assert lines["modelferry"]["failed"] == "0 of 1"


def test_a_column_that_says_nothing_is_skipped() -> None:
    head, _ = table(replace(RESULT, rows=rows(RUNS[:2], 10**9)))
    assert "peak memory, MB" not in head


def test_a_tool_that_was_always_stopped_shows_the_timeout() -> None:
    stopped = replace(RUNS[0], ended="unfinished", check_seconds=0.0, served=10**8)
    head, body = table(replace(RESULT, timeout=2.0, rows=rows([stopped], 10**9)))
    line = dict(zip(head, body[0], strict=True))
    assert (line["time, s"], line["MB/s"], line["failed"]) == (
        "stopped after 2; 100 MB received",
        "50",
        "0 of 1, 1 stopped",
    )


def test_the_terminal_and_the_page_say_which_goals_were_reached() -> None:
    assert "reached    at least 1x: 3x wget" in text(RESULT)
    assert "missed     at least 9x: 3x wget" in text(RESULT)
    made = page([RESULT], ["tls"])
    assert "| A file | at least 1x | 3x wget | reached |" in made
    assert "| **modelferry** |" in made
    assert "python -m benchmarks tls" in made


def test_explanations_follow_the_goals() -> None:
    made = page([RESULT], ["tls"], {"tls": "The disk bounds it.\n", "wan": "Not here."})
    assert (
        made.index("missed: at least 9x")
        < made.index("\nThe disk bounds it.\n")
        < made.index("`python -m benchmarks tls`")
    )
    assert "Not here." not in made


def test_the_page_says_why_a_scenario_was_skipped() -> None:
    skipped = replace(RESULT, scenario="wan", title="A path", rows=[], goals=[], runs=[], skipped="needs root")
    made = page([skipped, RESULT], ["tls", "wan"])
    assert "Not measured: needs root." in made
    assert made.index("## A file") < made.index("## A path")
    assert "not measured: needs root" in text(skipped)


def test_a_result_replaces_the_last_one_of_its_scenario(tmp_path: Path) -> None:
    file = tmp_path / "latest.json"
    other = replace(RESULT, scenario="wan")
    for result in (RESULT, other, replace(RESULT, load=5.0), replace(other, skipped="needs root")):
        store(result, file)
    assert read(file) == [replace(RESULT, load=5.0), other]


def test_the_page_is_up_to_date_and_contains_no_path_of_a_machine() -> None:
    shown = PAGE.read_text()
    assert shown == benchmarks_page(read())
    assert not re.search(r"(?<![\w.`/])/(home|root|tmp|usr|var)/", shown)
