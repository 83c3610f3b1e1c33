"""The evaluation of goals."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

import pytest
from benchmarks import goals
from benchmarks.goals import Goal
from benchmarks.stats import OURS, SHA256SUM, UNVERIFIED, Row, Spread


def row(
    tool: str, *, rate: float | None = None, cpu: float | None = None, checked: bool = False, **more: object
) -> Row:
    rates = Spread(rate, rate, rate) if rate is not None else None
    cpus = Spread(cpu, cpu, cpu) if cpu is not None else None
    name = tool + SHA256SUM * checked
    return Row(name, tool, 3, rate=rates, cpu=cpus, **more)  # type: ignore[arg-type]


def took(tool: str, seconds: float) -> Row:
    return Row(tool, tool, 3, seconds=Spread(seconds, seconds, seconds))


@pytest.mark.parametrize(
    ("goal", "rows", "reached"),
    [
        (goals.speed(1.0), [row(OURS, rate=100), row("a", rate=90), row("b", rate=100)], True),
        (goals.speed(1.1), [row(OURS, rate=100), row("a", rate=90), row("b", rate=100)], False),
        (goals.speed(1.5), [row(OURS, rate=100), row("a", rate=10), row("a", rate=90, checked=True)], True),
        (
            goals.speed(1.5, checked=True),
            [row(OURS, rate=100), row("a", rate=99), row("a", rate=60, checked=True)],
            True,
        ),
        (goals.speed(1.0), [row(OURS, rate=100)], None),
        (goals.speed(1.0), [row(OURS), row("a", rate=1)], None),
        (goals.least_cpu(), [row(OURS, cpu=2.0), row("axel", cpu=2.0), row("wget", cpu=1.0)], True),
        (goals.least_cpu(), [row(OURS, cpu=2.1), row("axel", cpu=3.0), row("aria2c", cpu=2.0)], False),
        (goals.utilization(0.95, 10e6, "it"), [row(OURS, rate=9.5)], True),
        (goals.utilization(0.95, 10e6, "it"), [row(OURS, rate=9.4)], False),
        (goals.verification_overhead(0.05), [took(OURS, 10.4), took(UNVERIFIED, 10.0)], True),
        (goals.verification_overhead(0.05), [took(OURS, 10.6), took(UNVERIFIED, 10.0)], False),
        (goals.verification_overhead(), [took(OURS, 20.0), took(UNVERIFIED, 10.0)], None),
        (goals.verification_overhead(0.05), [took(OURS, 10.0)], None),
        (goals.verification_overhead(0.05), [took(OURS, 10.0), replace(took(UNVERIFIED, 10.0), unfinished=1)], None),
        (goals.throughput(60), [row(OURS, rate=7.5)], True),
        (goals.throughput(60), [row(OURS, rate=7.4)], False),
        (goals.time_saved(0.9, "wget"), [row(OURS, rate=20), row("wget", rate=2)], True),
        (goals.time_saved(0.9, "wget"), [row(OURS, rate=19), row("wget", rate=2)], False),
        (goals.peak_memory("fetch", 48), [row(OURS, peaks={"fetch": 48_000_000})], True),
        (goals.peak_memory("fetch", 48), [row(OURS, peaks={"fetch": 1}), row("x", peaks={"fetch": 48_000_001})], False),
        (goals.no_failures(3), [row(OURS)], True),
        (goals.no_failures(3), [row(OURS, failures=1)], False),
        (goals.no_failures(3), [row(OURS, unfinished=1)], False),
        (goals.no_failures(10), [row(OURS)], None),
    ],
)
def test_goals(goal: Goal, rows: Sequence[Row], reached: bool | None) -> None:
    assert goal.evaluate(rows).reached is reached


def test_the_result_contains_what_was_measured() -> None:
    result = goals.speed(1.0).evaluate([row(OURS, rate=100), row("curl", rate=80)])
    assert result.value == "1.25x curl (100 against 80 MB/s)"


def test_a_startup_time_is_found_by_its_name() -> None:
    started = Row("resumed: first request", OURS, 3, Spread(0.4, 0.3, 0.9))
    assert goals.startup_time("resumed", "first request", 0.5).evaluate([started]).reached is True
    assert goals.startup_time("resumed", "first request", 0.4).evaluate([started]).reached is False
    assert goals.startup_time("new download", "first request", 0.5).evaluate([started]).reached is None
