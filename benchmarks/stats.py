"""What a number of runs come to: medians with the least and the most, a row for each tool. Pure."""

from __future__ import annotations

import statistics
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

#: Bytes of a megabyte and of a gigabyte, as link speeds count them.
MB, GB = 10**6, 10**9

#: The name of the tool that all of this is about.
OURS = "modelferry"
#: The same without verification and durability.
UNCHECKED = f"{OURS} unchecked"
#: What stands behind a tool's name in the row where sha256sum follows it.
CHECKED = " + sha256sum"


@dataclass(frozen=True, slots=True)
class Spread:
    """The median of some numbers, with the least and the most of them."""

    median: float
    least: float
    most: float

    @classmethod
    def of(cls, values: Iterable[float]) -> Spread | None:
        """Of `values`; None where there are none."""
        known = sorted(values)
        return cls(statistics.median(known), known[0], known[-1]) if known else None


@dataclass(frozen=True, slots=True)
class Run:
    """One run of one tool.

    ``ended``: ``ok``; ``failed`` (an exit code); ``wrong`` (it said that all went well, and a digest is wrong); or
    ``unfinished`` (stopped at the scenario's limit). ``seconds`` and ``cpu`` (seconds too) are the tool's own,
    ``check_seconds`` and ``check_cpu`` those of the sha256sum after it. ``rss``: the greatest sum over its processes,
    in bytes, as it was sampled; ``peaks``: the kernel's own high-water mark for each process that has a name.
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
    """All runs of one tool. ``rate`` in MB/s (of an unfinished run: what it got by then), ``cpu`` in seconds per GB,
    ``rss`` and ``served`` in bytes; ``peaks`` are the greatest of all runs. Failed runs count in ``failures`` alone."""

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
    bytes that were to be fetched."""
    tools = list(dict.fromkeys(run.tool for run in runs))
    plain = [row_of(tool, tool, [run for run in runs if run.tool == tool], size) for tool in tools]
    checked = [
        row_of(tool + CHECKED, tool, chosen, size, checked=True)
        for tool in tools
        if not tool.startswith(OURS) and (chosen := [run for run in runs if run.tool == tool and run.check_seconds])
    ]
    return plain + checked


def row_of(name: str, tool: str, runs: Sequence[Run], size: int, *, checked: bool = False) -> Row:
    """One row. `checked`: with the time of sha256sum."""
    good = [run for run in runs if run.ended == "ok"]
    told = good + [run for run in runs if run.ended == "unfinished" and not checked]
    return Row(
        name=name,
        tool=tool,
        runs=len(runs),
        seconds=Spread.of(_seconds(run, checked) for run in told),
        rate=Spread.of(_arrived(run, size) / _seconds(run, checked) / MB for run in told),
        cpu=Spread.of((run.cpu + run.check_cpu * checked) / (_arrived(run, size) / GB) for run in told if run.served),
        rss=Spread.of(run.rss for run in told),
        served=Spread.of(run.served for run in told),
        requests=Spread.of(run.requests for run in told),
        peaks=_greatest(run.peaks for run in runs),
        failures=sum(run.ended in ("failed", "wrong") for run in runs),
        unfinished=sum(run.ended == "unfinished" for run in runs),
    )


def _seconds(run: Run, checked: bool) -> float:
    return run.seconds + run.check_seconds * checked


def _arrived(run: Run, size: int) -> int:
    return size if run.ended == "ok" else min(run.served, size)


def _greatest(peaks: Iterable[Mapping[str, int]]) -> dict[str, int]:
    greatest: dict[str, int] = {}
    for some in peaks:
        for label, peak in some.items():
            greatest[label] = max(peak, greatest.get(label, 0))
    return greatest


def row_from(body: Mapping[str, Any]) -> Row:
    """A row from its JSON (`dataclasses.asdict`)."""
    spreads = {
        name: Spread(**body[name]) if body[name] is not None else None
        for name in ("seconds", "rate", "cpu", "rss", "served", "requests")
    }
    return Row(**{**body, **spreads})
