"""Results as tables, and as JSON."""

from __future__ import annotations

import re
from dataclasses import replace
from pathlib import Path

from benchmarks.__main__ import PAGE, written
from benchmarks.goals import Judged
from benchmarks.report import page, table, text
from benchmarks.result import Result, keep, read
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
    called={"wget": "wget -q"},
    load=0.2,
    files="1 file of 1 GB",
    line="loopback",
    origin="nginx",
    size=10**9,
    limit=0.0,
    carried=0.0,
    rows=rows(RUNS, 10**9),
    goals=[Judged("at least 1x", "3x wget", True), Judged("at least 9x", "3x wget", False)],
    runs=list(RUNS),
)


def test_a_table_shows_the_median_and_the_range() -> None:
    head, body = table(RESULT)
    lines = {line[0]: dict(zip(head, line, strict=True)) for line in body}
    assert lines["wget"]["time, s"] == "3.00 (2.00 to 4.00)"
    assert lines["wget + sha256sum"]["time, s"] == "4.00 (3.00 to 5.00)"
    assert lines["modelferry"]["served"] == "1.10"
    assert lines["modelferry"]["of it"] == "fetch 30.0"
    assert lines["modelferry"]["failed"] == "0 of 1"


def test_a_column_that_says_nothing_is_left_out() -> None:
    head, _ = table(replace(RESULT, rows=rows(RUNS[:2], 10**9)))
    assert "of it" not in head


def test_a_tool_that_was_always_stopped_shows_the_limit() -> None:
    stopped = replace(RUNS[0], ended="unfinished", check_seconds=0.0, served=10**8)
    head, body = table(replace(RESULT, limit=2.0, rows=rows([stopped], 10**9)))
    line = dict(zip(head, body[0], strict=True))
    assert (line["time, s"], line["MB/s"], line["failed"]) == ("not within 2; 100 MB came", "50", "0 of 1, 1 stopped")


def test_the_terminal_and_the_page_say_which_goals_were_reached() -> None:
    assert "reached at least 1x: 3x wget" in text(RESULT)
    assert "missed  at least 9x: 3x wget" in text(RESULT)
    made = page([RESULT], ["tls"])
    assert "| A file | at least 1x | 3x wget | reached |" in made
    assert "| **modelferry** |" in made
    assert "python -m benchmarks tls" in made


def test_what_a_person_found_out_stands_under_the_goals() -> None:
    made = page([RESULT], ["tls"], {"tls": "The disk bounds it.\n", "wan": "Not here."})
    assert (
        made.index("missed: at least 9x")
        < made.index("\nThe disk bounds it.\n")
        < made.index("`python -m benchmarks tls`")
    )
    assert "Not here." not in made


def test_the_page_says_what_was_not_measured_and_why() -> None:
    left_out = replace(RESULT, scenario="wan", title="A line", rows=[], goals=[], runs=[], left_out="needs root")
    made = page([left_out, RESULT], ["tls", "wan"])
    assert "Not measured: needs root." in made
    assert made.index("## A file") < made.index("## A line")
    assert "not measured: needs root" in text(left_out)


def test_a_result_takes_the_place_of_the_last_one_of_its_scenario(tmp_path: Path) -> None:
    file = tmp_path / "latest.json"
    other = replace(RESULT, scenario="wan")
    for result in (RESULT, other, replace(RESULT, load=5.0), replace(other, left_out="needs root")):
        keep(result, file)
    assert read(file) == [replace(RESULT, load=5.0), other]


def test_the_page_is_what_the_kept_results_make_and_names_no_path_of_a_machine() -> None:
    shown = PAGE.read_text()
    assert shown == written(read())
    assert not re.search(r"(?<![\w.`/])/(home|root|tmp|usr|var)/", shown)
