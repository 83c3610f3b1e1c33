"""Runs scenarios, and makes their results."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from pathlib import Path

from benchmarks import machine
from benchmarks.comparison import Testbed, Workload, compare, log, testbed
from benchmarks.goals import GoalResult
from benchmarks.result import Result
from benchmarks.scenarios import Scenario
from benchmarks.startup import measure_startup
from benchmarks.stats import OURS, Row, Run, rows
from benchmarks.tools import Tool


@dataclass(frozen=True, slots=True)
class Session:
    """The options of one command line (``command``), the directory to ``work`` in, and the Python that has
    hf_transfer."""

    rounds: int
    quick: bool
    tools: frozenset[str]
    command: str
    work: Path
    python: Path

    def run(self, scenario: Scenario) -> Result:
        """Run `scenario`; the result says why, if it cannot run here."""
        workload = scenario.quick if self.quick else scenario.workload
        skipped = machine.why_no_namespaces() if workload.path.kind != "loopback" else ""
        if skipped:
            return self._result(scenario, workload, _Measurement(skipped=skipped))
        log(f"{scenario.name}: {scenario.title}")
        load = machine.load()
        with testbed(workload, self.work, self.python) as bed:
            measure = self._startup if scenario.kind == "startup" else self._comparison
            table, runs = measure(scenario, bed)
            return self._result(scenario, workload, _Measurement(table, runs, load, bed.measured_rate))

    def _startup(self, scenario: Scenario, bed: Testbed) -> tuple[Sequence[Row], Sequence[Run]]:
        return measure_startup(bed, self.rounds, scenario.share), ()

    def _comparison(self, scenario: Scenario, bed: Testbed) -> tuple[Sequence[Row], Sequence[Run]]:
        our_rounds = self.rounds if self.quick else max(self.rounds, scenario.our_rounds)
        runs = compare(bed, self._tools(scenario), self.rounds, our_rounds)
        return rows(runs, bed.workload.files.size), runs

    def _tools(self, scenario: Scenario) -> list[Tool]:
        return [tool for tool in scenario.tools if tool.name in self.tools or tool.name.startswith(OURS)]

    def _result(self, scenario: Scenario, workload: Workload, measured: _Measurement) -> Result:
        tools = self._tools(scenario)
        stopped = any(run.ended == "unfinished" for run in measured.runs)
        return Result(
            scenario=scenario.name,
            title=scenario.title,
            date=datetime.now(UTC).strftime("%Y-%m-%d"),
            command=self.command,
            machine=machine.description(self.work),
            versions=machine.versions(tools),
            commands={tool.name: tool.command for tool in tools},
            load=measured.load,
            files=str(workload.files),
            path=str(workload.path),
            origin=_origin(workload),
            size=workload.files.size,
            timeout=workload.timeout if stopped else 0.0,
            measured_rate=measured.rate,
            rows=measured.rows,
            goals=self._goals(scenario, measured.rows) if measured.rows else [],
            runs=measured.runs,
            note=scenario.note,
            skipped=measured.skipped,
        )

    def _goals(self, scenario: Scenario, rows: Sequence[Row]) -> list[GoalResult]:
        results = [goal.evaluate(rows) for goal in scenario.goals]
        # A quick run is too small for the goals.
        return [replace(result, reached=None) for result in results] if self.quick else results


@dataclass(frozen=True, slots=True)
class _Measurement:
    rows: Sequence[Row] = ()
    runs: Sequence[Run] = ()
    load: float = 0.0
    rate: float = 0.0
    skipped: str = ""


def _origin(workload: Workload) -> str:
    server = "the misbehaving origin" if workload.errors else "nginx"
    server += ", TLS 1.3" if workload.tls else ", plain HTTP"
    return f"{server}, {workload.rate / 1e6:g} MB/s for each request" if workload.rate else server
