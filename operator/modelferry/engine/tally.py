"""What a download met with on its way, for people who ask where the time went. Counts alone, no decisions."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass, field

from modelferry.engine.wire import Verdict


@dataclass(slots=True)
class Tally:
    """``faults``: how often which row of docs/hostile-servers.md was met, by mirror; 4, a shorter range, is none."""

    faults: Counter[tuple[str, int]] = field(default_factory=Counter)

    def miss(self, mirror: str, verdict: Verdict) -> None:
        """Count an answer that was of no use, or not of all."""
        self.faults[mirror, verdict.row] += 1

    @property
    def rows(self) -> list[int]:
        """The rows that were met, each as often as it was, in order."""
        found: Counter[int] = Counter()
        for (_, row), times in self.faults.items():
            found[row] += times
        return sorted(found.elements())
