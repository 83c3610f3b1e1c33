"""Scenarios become results."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from pathlib import Path

from benchmarks import machine
from benchmarks.contest import Scene, Setting, held, staged, tell
from benchmarks.goals import Judged
from benchmarks.result import Result
from benchmarks.scenarios import Scenario
from benchmarks.starting import starts
from benchmarks.stats import OURS, Row, Run, rows
from benchmarks.tools import Tool


@dataclass(frozen=True, slots=True)
class Session:
    """What the command line asks for (``command`` is that line), a directory to ``work`` in, and the Python that
    hf_transfer is installed for."""

    rounds: int
    quick: bool
    tools: frozenset[str]
    command: str
    work: Path
    python: Path

    def measured(self, scenario: Scenario) -> Result:
        """Run `scenario`, or say why that cannot be."""
        setting = scenario.quick if self.quick else scenario.setting
        left_out = scenario.left_out
        if not left_out and setting.line.kind != "loopback":
            left_out = machine.why_no_namespaces()
        if left_out:
            return self._result(scenario, setting, _Found(left_out=left_out))
        tell(f"{scenario.name}: {scenario.title}")
        load = machine.load()
        with staged(setting, self.work, self.python) as scene:
            found = self._starts(scenario, scene) if scenario.kind == "starts" else self._contest(scenario, scene)
            return self._result(scenario, setting, _Found(*found, load=load, carried=scene.carried))

    def _starts(self, scenario: Scenario, scene: Scene) -> tuple[Sequence[Row], Sequence[Run]]:
        return starts(scene, self.rounds, scenario.share), ()

    def _contest(self, scenario: Scenario, scene: Scene) -> tuple[Sequence[Row], Sequence[Run]]:
        ours = self.rounds if self.quick else max(self.rounds, scenario.ours)
        runs = held(scene, self._tools(scenario), self.rounds, ours)
        return rows(runs, scene.setting.files.size), runs

    def _tools(self, scenario: Scenario) -> list[Tool]:
        return [tool for tool in scenario.tools if tool.name in self.tools or tool.name.startswith(OURS)]

    def _result(self, scenario: Scenario, setting: Setting, found: _Found) -> Result:
        tools = self._tools(scenario)
        stopped = any(run.ended == "unfinished" for run in found.runs)
        return Result(
            scenario=scenario.name,
            title=scenario.title,
            date=datetime.now(UTC).strftime("%Y-%m-%d"),
            command=self.command,
            machine=machine.described(self.work),
            versions=machine.versions(tools),
            called={tool.name: tool.called for tool in tools},
            load=found.load,
            files=str(setting.files),
            line=str(setting.line),
            origin=_origin(setting),
            size=setting.files.size,
            limit=setting.limit if stopped else 0.0,
            carried=found.carried,
            rows=found.rows,
            goals=self._judged(scenario, found.rows) if found.rows else [],
            runs=found.runs,
            note=scenario.note,
            left_out=found.left_out,
        )

    def _judged(self, scenario: Scenario, rows: Sequence[Row]) -> list[Judged]:
        judged = [goal.judged(rows) for goal in scenario.goals]
        # What ran in small says nothing about what is to be reached.
        return [replace(one, reached=None) for one in judged] if self.quick else judged


@dataclass(frozen=True, slots=True)
class _Found:
    rows: Sequence[Row] = ()
    runs: Sequence[Run] = ()
    load: float = 0.0
    carried: float = 0.0
    left_out: str = ""


def _origin(setting: Setting) -> str:
    server = "the hostile origin" if setting.faults else "nginx"
    server += ", TLS 1.3" if setting.tls else ", plain HTTP"
    return f"{server}, {setting.rate / 1e6:g} MB/s for each request" if setting.rate else server
