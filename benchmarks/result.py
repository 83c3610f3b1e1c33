"""A scenario's result as data, and as JSON."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from benchmarks.goals import Judged
from benchmarks.stats import Row, Run, row_from

#: The results that docs/benchmarks.md is made from.
LATEST = Path(__file__).with_name("results") / "latest.json"


@dataclass(frozen=True, slots=True)
class Result:
    """``size``: bytes fetched in one run; ``limit``: seconds; ``carried``: bytes of content a second that
    a probe found the line to carry, 0 on loopback; ``machine`` and ``versions`` by what they are of;
    ``load``: of the machine when it began; ``left_out``: why nothing was measured, or empty."""

    scenario: str
    title: str
    date: str
    command: str
    machine: Mapping[str, str]
    versions: Mapping[str, str]
    called: Mapping[str, str]
    load: float
    files: str
    line: str
    origin: str
    size: int
    limit: float
    carried: float
    rows: Sequence[Row]
    goals: Sequence[Judged]
    runs: Sequence[Run] = ()
    note: str = ""
    left_out: str = ""

    @classmethod
    def of(cls, body: Mapping[str, Any]) -> Result:
        """From JSON."""
        parts = {
            "rows": [row_from(row) for row in body["rows"]],
            "goals": [Judged(**goal) for goal in body["goals"]],
            "runs": [Run(**run) for run in body["runs"]],
        }
        return cls(**{**body, **parts})


def save(result: Result, path: Path) -> None:
    """One result to `path`."""
    path.write_text(_json(asdict(result)))


def keep(result: Result, path: Path = LATEST) -> None:
    """Put `result` in the place of the last one of its scenario in the file at `path`; one that was left out (for want
    of root, say) takes nobody's place."""
    known = {kept.scenario: asdict(kept) for kept in read(path)}
    if result.left_out and result.scenario in known:
        return
    path.write_text(_json([*{**known, result.scenario: asdict(result)}.values()]))


def read(path: Path = LATEST) -> list[Result]:
    """All results in the file at `path`; none where there is no such file."""
    return [Result.of(body) for body in json.loads(path.read_text())] if path.exists() else []


def _json(body: Any) -> str:
    return json.dumps(body, indent=1, ensure_ascii=False) + "\n"
