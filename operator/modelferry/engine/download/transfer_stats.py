"""What a download cost, for people who ask where the time went: counts and seconds, no decisions."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass, field

from modelferry.engine.checkpoint.api import StatTotals
from modelferry.engine.response import Verdict
from modelferry.http.wire import ServerBehavior

#: Tries at all, and the seconds that they took, side by side.
STREAMS = "streams"


@dataclass(slots=True)
class TransferStats:
    """``faults``: how often each server behavior was met, by mirror. ``streams``: tries and their
    seconds, by mirror."""

    faults: Counter[tuple[str, ServerBehavior]] = field(default_factory=Counter)
    streams: StatTotals = field(default_factory=dict)

    def miss(self, mirror: str, verdict: Verdict) -> None:
        """Count an answer that was of no use, or not of all."""
        self.faults[mirror, verdict.behavior] += 1

    def begin(self, mirror: str) -> None:
        """Count a try."""
        add(self.streams, (STREAMS, mirror), 1, 0.0)

    def spend(self, mirror: str, seconds: float) -> None:
        """A try took `seconds`."""
        add(self.streams, (STREAMS, mirror), 0, seconds)

    @property
    def behaviors(self) -> list[ServerBehavior]:
        """Server behaviors that were met, each as often as it was, by number."""
        return sorted(one for (_, one), times in self.faults.items() for _ in range(times))

    @property
    def costs(self) -> tuple[tuple[str, str, int, float], ...]:
        """All of it as (what, mirror, times, seconds)."""
        met = [(one.label, mirror, times, 0.0) for (mirror, one), times in self.faults.items()]
        return (*met, *((what, mirror, *cost) for (what, mirror), cost in self.streams.items()))


def add(costs: StatTotals, key: tuple[str, str], times: int, seconds: float) -> None:
    """Add to what `key` has cost."""
    before = costs.get(key, (0, 0.0))
    costs[key] = before[0] + times, before[1] + seconds
