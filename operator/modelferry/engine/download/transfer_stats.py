"""Counts and seconds of a download, for people who ask where the time went. No decision depends on them."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass, field

from modelferry.checkpoint.api import StatTotals
from modelferry.http.wire import ServerBehavior

#: The operation of all attempts: their count, and the seconds that they took, side by side.
STREAMS = "streams"


@dataclass(slots=True)
class TransferStats:
    """``occurrences``: of each server behavior, by mirror. ``attempts``: their count and seconds, by mirror."""

    occurrences: Counter[tuple[str, ServerBehavior]] = field(default_factory=Counter)
    attempts: StatTotals = field(default_factory=dict)

    def record_behavior(self, mirror: str, behavior: ServerBehavior) -> None:
        """A response could not be used, or not all of it."""
        self.occurrences[mirror, behavior] += 1

    def record_start(self, mirror: str) -> None:
        """An attempt has begun."""
        self._add(mirror, 1, 0.0)

    def record_end(self, mirror: str, seconds: float) -> None:
        """An attempt has ended, after `seconds`."""
        self._add(mirror, 0, seconds)

    def _add(self, mirror: str, count: int, seconds: float) -> None:
        before = self.attempts.get((STREAMS, mirror), (0, 0.0))
        self.attempts[STREAMS, mirror] = before[0] + count, before[1] + seconds

    @property
    def behaviors(self) -> list[ServerBehavior]:
        """Server behaviors, each as often as it occurred, by number."""
        return sorted(one for (_, one), count in self.occurrences.items() for _ in range(count))

    @property
    def totals(self) -> tuple[tuple[str, str, int, float], ...]:
        """All of it, as (operation, mirror, count, seconds)."""
        behaviors = [(one.label, mirror, count, 0.0) for (mirror, one), count in self.occurrences.items()]
        return (*behaviors, *((operation, mirror, *total) for (operation, mirror), total in self.attempts.items()))
