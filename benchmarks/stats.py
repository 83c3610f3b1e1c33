"""Statistics over runs: medians with minimum and maximum, one row for each tool. Pure."""

from __future__ import annotations

import statistics
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

#: Bytes of a megabyte and of a gigabyte, as link speeds count them.
MB, GB = 10**6, 10**9

#: The name of the tool that is under test.
OURS = "modelferry"
#: The same without verification and durability.
UNVERIFIED = f"{OURS} unverified"
#: Appended to a tool's name in the row that includes a sha256sum after it.
SHA256SUM = " + sha256sum"


@dataclass(frozen=True, slots=True)
class Spread:
    """The median of some numbers, with their minimum and maximum."""

    median: float
    least: float
    most: float

    @classmethod
    def of(cls, values: Iterable[float]) -> Spread | None:
        """The spread of `values`; None if there are none."""
        known = sorted(values)
        return cls(statistics.median(known), known[0], known[-1]) if known else None


@dataclass(frozen=True, slots=True)
class Run:
    """One run of one tool.

    ``ended``: ``ok``; ``failed`` (a non-zero exit code); ``wrong`` (exit code 0, but a digest does not match); or
    ``unfinished`` (stopped at the scenario's timeout). ``seconds`` and ``cpu`` (seconds too) are the tool's own,
    ``check_seconds`` and ``check_cpu`` those of the sha256sum after it. ``rss``: the largest sampled sum over
    its processes, in bytes; ``peaks``: the kernel's peak for each labelled process.
    ``served``: bytes of content that the origin sent, in ``requests``.
    """

    tool: str
    round: int
    ended: str
    seconds: float
    cpu: float
    rss: int
    peaks: Mapping[str, int] = field(default_factory=dict)
    check_seconds: float = 0.0
    check_cpu: float = 0.0
    served: int = 0
    requests: int = 0
    note: str = ""


@dataclass(frozen=True, slots=True)
class Row:
    """All runs of one tool. ``rate`` in MB/s (of an unfinished run: until it was stopped), ``cpu`` in seconds per GB,
    ``rss`` and ``served`` in bytes; ``peaks`` are the maximum over all runs. Failed runs count only in ``failures``."""

    name: str
    tool: str
    runs: int
    seconds: Spread | None = None
    rate: Spread | None = None
    cpu: Spread | None = None
    rss: Spread | None = None
    served: Spread | None = None
    requests: Spread | None = None
    peaks: Mapping[str, int] = field(default_factory=dict)
    failures: int = 0
    unfinished: int = 0


def rows(runs: Sequence[Run], size: int) -> list[Row]:
    """A row for each tool in the order in which they first ran, then one for each with sha256sum after it. `size`:
    the bytes of all files."""
    tools = list(dict.fromkeys(run.tool for run in runs))
    plain = [row_of(tool, tool, [run for run in runs if run.tool == tool], size) for tool in tools]
    checked = [
        row_of(tool + SHA256SUM, tool, chosen, size, checked=True)
        for tool in tools
        if not tool.startswith(OURS) and (chosen := [run for run in runs if run.tool == tool and run.check_seconds])
    ]
    return plain + checked


def row_of(name: str, tool: str, runs: Sequence[Run], size: int, *, checked: bool = False) -> Row:
    """One row. `checked`: with the time of sha256sum."""
    good = [run for run in runs if run.ended == "ok"]
    counted = good + [run for run in runs if run.ended == "unfinished" and not checked]
    return Row(
        name=name,
        tool=tool,
        runs=len(runs),
        seconds=Spread.of(_seconds(run, checked) for run in counted),
        rate=Spread.of(_received(run, size) / _seconds(run, checked) / MB for run in counted),
        cpu=Spread.of(
            (run.cpu + run.check_cpu * checked) / (_received(run, size) / GB) for run in counted if run.served
        ),
        rss=Spread.of(run.rss for run in counted),
        served=Spread.of(run.served for run in counted),
        requests=Spread.of(run.requests for run in counted),
        peaks=_maximum(run.peaks for run in runs),
        failures=sum(run.ended in ("failed", "wrong") for run in runs),
        unfinished=sum(run.ended == "unfinished" for run in runs),
    )


def _seconds(run: Run, checked: bool) -> float:
    return run.seconds + run.check_seconds * checked


def _received(run: Run, size: int) -> int:
    return size if run.ended == "ok" else min(run.served, size)


def _maximum(peaks: Iterable[Mapping[str, int]]) -> dict[str, int]:
    maximum: dict[str, int] = {}
    for some in peaks:
        for label, peak in some.items():
            maximum[label] = max(peak, maximum.get(label, 0))
    return maximum


def row_from(body: Mapping[str, Any]) -> Row:
    """A row from its JSON (`dataclasses.asdict`)."""
    spreads = {
        name: Spread(**body[name]) if body[name] is not None else None
        for name in ("seconds", "rate", "cpu", "rss", "served", "requests")
    }
    return Row(**{**body, **spreads})
