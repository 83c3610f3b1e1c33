"""What a download cost, for people who ask where the time went: counts and seconds, no decisions."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass, field

from modelferry.engine.checkpoint.stats import Costs, add
from modelferry.engine.response import Verdict

#: Tries at all, and the seconds that they took, side by side.
STREAMS = "streams"
#: A row's number follows.
ROW = "row "


@dataclass(slots=True)
class TransferStats:
    """``faults``: how often which row of docs/hostile-servers.md was met, by mirror. ``streams``: tries and their
    seconds, by mirror."""

    faults: Counter[tuple[str, int]] = field(default_factory=Counter)
    streams: Costs = field(default_factory=dict)

    def miss(self, mirror: str, verdict: Verdict) -> None:
        """Count an answer that was of no use, or not of all."""
        self.faults[mirror, verdict.row] += 1

    def begin(self, mirror: str) -> None:
        """Count a try."""
        add(self.streams, (STREAMS, mirror), 1, 0.0)

    def spend(self, mirror: str, seconds: float) -> None:
        """A try took `seconds`."""
        add(self.streams, (STREAMS, mirror), 0, seconds)

    @property
    def rows(self) -> list[int]:
        """The rows that were met, each as often as it was, in order."""
        return sorted(row for (_, row), times in self.faults.items() for _ in range(times))

    @property
    def costs(self) -> tuple[tuple[str, str, int, float], ...]:
        """All of it as (what, mirror, times, seconds)."""
        met = [(f"{ROW}{row}", mirror, times, 0.0) for (mirror, row), times in self.faults.items()]
        return (*met, *((what, mirror, *cost) for (what, mirror), cost in self.streams.items()))
