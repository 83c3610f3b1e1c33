"""How long to wait, and when to give up. Pure: clock readings and random numbers are arguments."""

from __future__ import annotations

from dataclasses import dataclass, replace

#: Seconds before the second try, doubled for each further one up to the cap, then jittered.
FIRST_DELAY, MAX_DELAY = 0.5, 30.0


def backoff(failures: int, random: float) -> float:
    """Seconds to wait before try number `failures` + 1 (the first failure is attempt 1); `random` is in [0, 1).

    "Equal jitter": half of the delay is certain, so that a dead server is not hammered; half is random, so that a
    hundred nodes do not come back in step.
    """
    delay = min(FIRST_DELAY * 2.0 ** min(failures - 1, 16), MAX_DELAY)
    return delay * (0.5 + random / 2)


@dataclass(frozen=True, slots=True)
class ProgressDeadline:
    """Patience: spent by time without progress, never by the number of tries.

    ``progress_deadline`` in seconds; ``progressed`` is the clock's reading when bytes were last kept.
    """

    progress_deadline: float
    progressed: float

    def progress(self, now: float) -> ProgressDeadline:
        """After bytes were kept at `now`."""
        return replace(self, progressed=now)

    def spent(self, now: float) -> bool:
        """Is it time to give up?"""
        return now - self.progressed > self.progress_deadline
