"""When to give up. Pure: clock readings are arguments."""

from __future__ import annotations

from dataclasses import dataclass, replace


@dataclass(frozen=True, slots=True)
class ProgressDeadline:
    """Limits the time without progress, never the number of attempts.

    ``seconds`` without progress after which a download gives up; ``last_progress``: the clock reading when bytes were
    last kept.
    """

    seconds: float
    last_progress: float

    def record_progress(self, now: float) -> ProgressDeadline:
        """After bytes were kept at `now`."""
        return replace(self, last_progress=now)

    def left(self, now: float) -> float:
        """Seconds until then, from `now` on."""
        return self.last_progress + self.seconds - now

    def is_exceeded(self, now: float) -> bool:
        """Is it time to give up?"""
        return self.left(now) < 0
