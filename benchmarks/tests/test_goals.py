"""Whether goals are reached."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

import pytest
from benchmarks import goals
from benchmarks.goals import Goal
from benchmarks.stats import CHECKED, OURS, UNCHECKED, Row, Spread


def row(
    tool: str, *, rate: float | None = None, cpu: float | None = None, checked: bool = False, **more: object
) -> Row:
    rates = Spread(rate, rate, rate) if rate is not None else None
    cpus = Spread(cpu, cpu, cpu) if cpu is not None else None
    name = tool + CHECKED * checked
    return Row(name, tool, 3, rate=rates, cpu=cpus, **more)  # type: ignore[arg-type]


def took(tool: str, seconds: float) -> Row:
    return Row(tool, tool, 3, seconds=Spread(seconds, seconds, seconds))


@pytest.mark.parametrize(
    ("goal", "rows", "reached"),
    [
        (goals.faster(1.0), [row(OURS, rate=100), row("a", rate=90), row("b", rate=100)], True),
        (goals.faster(1.1), [row(OURS, rate=100), row("a", rate=90), row("b", rate=100)], False),
        (goals.faster(1.5), [row(OURS, rate=100), row("a", rate=10), row("a", rate=90, checked=True)], True),
        (
            goals.faster(1.5, checked=True),
            [row(OURS, rate=100), row("a", rate=99), row("a", rate=60, checked=True)],
            True,
        ),
        (goals.faster(1.0), [row(OURS, rate=100)], None),
        (goals.faster(1.0), [row(OURS), row("a", rate=1)], None),
        (goals.leaner(), [row(OURS, cpu=2.0), row("axel", cpu=2.0), row("wget", cpu=1.0)], True),
        (goals.leaner(), [row(OURS, cpu=2.1), row("axel", cpu=3.0), row("aria2c", cpu=2.0)], False),
        (goals.fills(0.95, 10e6, "it"), [row(OURS, rate=9.5)], True),
        (goals.fills(0.95, 10e6, "it"), [row(OURS, rate=9.4)], False),
        (goals.costs(0.05), [took(OURS, 10.4), took(UNCHECKED, 10.0)], True),
        (goals.costs(0.05), [took(OURS, 10.6), took(UNCHECKED, 10.0)], False),
        (goals.costs(), [took(OURS, 20.0), took(UNCHECKED, 10.0)], None),
        (goals.costs(0.05), [took(OURS, 10.0)], None),
        (goals.costs(0.05), [took(OURS, 10.0), replace(took(UNCHECKED, 10.0), unfinished=1)], None),
        (goals.reaches(60), [row(OURS, rate=7.5)], True),
        (goals.reaches(60), [row(OURS, rate=7.4)], False),
        (goals.saves(0.9, "wget"), [row(OURS, rate=20), row("wget", rate=2)], True),
        (goals.saves(0.9, "wget"), [row(OURS, rate=19), row("wget", rate=2)], False),
        (goals.within("fetch", 48), [row(OURS, peaks={"fetch": 48_000_000})], True),
        (goals.within("fetch", 48), [row(OURS, peaks={"fetch": 1}), row("x", peaks={"fetch": 48_000_001})], False),
        (goals.never_fails(3), [row(OURS)], True),
        (goals.never_fails(3), [row(OURS, failures=1)], False),
        (goals.never_fails(3), [row(OURS, unfinished=1)], False),
        (goals.never_fails(10), [row(OURS)], None),
    ],
)
def test_goals(goal: Goal, rows: Sequence[Row], reached: bool | None) -> None:
    assert goal.judged(rows).reached is reached


def test_what_was_measured_is_told() -> None:
    judged = goals.faster(1.0).judged([row(OURS, rate=100), row("curl", rate=80)])
    assert judged.value == "1.25x curl (100 against 80 MB/s)"


def test_a_start_is_found_by_its_name() -> None:
    started = Row("resumed: first request", OURS, 3, Spread(0.4, 0.3, 0.9))
    assert goals.sooner("resumed", "first request", 0.5).judged([started]).reached is True
    assert goals.sooner("resumed", "first request", 0.4).judged([started]).reached is False
    assert goals.sooner("from nothing", "first request", 0.5).judged([started]).reached is None
