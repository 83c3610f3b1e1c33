"""A scenario's result as data, and as JSON."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from benchmarks.goals import GoalResult
from benchmarks.stats import Row, Run, row_from

#: The results that docs/benchmarks.md is generated from.
LATEST = Path(__file__).with_name("results") / "latest.json"


@dataclass(frozen=True, slots=True)
class Result:
    """``size``: bytes downloaded in one run; ``path``: the network path; ``timeout`` in seconds; ``measured_rate``:
    bytes of content per second that a probe measured on the path, 0 on loopback; ``commands`` and ``versions`` by tool;
    ``load``: the machine's load average at the start; ``skipped``: why nothing was measured, or empty."""

    scenario: str
    title: str
    date: str
    command: str
    machine: Mapping[str, str]
    versions: Mapping[str, str]
    commands: Mapping[str, str]
    load: float
    files: str
    path: str
    origin: str
    size: int
    timeout: float
    measured_rate: float
    rows: Sequence[Row]
    goals: Sequence[GoalResult]
    runs: Sequence[Run] = ()
    note: str = ""
    skipped: str = ""

    @classmethod
    def of(cls, body: Mapping[str, Any]) -> Result:
        """From JSON."""
        parts = {
            "rows": [row_from(row) for row in body["rows"]],
            "goals": [GoalResult(**goal) for goal in body["goals"]],
            "runs": [Run(**run) for run in body["runs"]],
        }
        return cls(**{**body, **parts})


def save(result: Result, path: Path) -> None:
    """Write one result to `path`."""
    path.write_text(_json(asdict(result)))


def store(result: Result, path: Path = LATEST) -> None:
    """Replace the last result of the scenario in the file at `path`. A result that was skipped (without root, for
    example) replaces no other."""
    known = {stored.scenario: asdict(stored) for stored in read(path)}
    if result.skipped and result.scenario in known:
        return
    path.write_text(_json([*{**known, result.scenario: asdict(result)}.values()]))


def read(path: Path = LATEST) -> list[Result]:
    """All results in the file at `path`; an empty list if the file does not exist."""
    return [Result.of(body) for body in json.loads(path.read_text())] if path.exists() else []


def _json(body: Any) -> str:
    return json.dumps(body, indent=1, ensure_ascii=False) + "\n"
