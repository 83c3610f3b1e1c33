"""The circuit breaker of one mirror. Pure: clock readings are arguments.

::

    closed ── FAILURES in a row, or a probe that failed ──▶ open ── a probe came back well ──▶ half-open
      ▲                                                      ▲                                    │
      │                                                      └──────────── any failure ◀──────────┤
      └──────────────────────────────── good bytes ◀──────────────────────────────────────────────┘

Good bytes that were asked for before it opened say nothing of what it is now. Asked for after that (where all are
open), they make it half-open. A quarantined one served wrong bytes, and stays so for the rest of this download.

An open mirror is asked for nothing but a byte at a time (a probe), at growing intervals; so a mirror that is down costs
no chunk its time. Where all are open, the breakers decide nothing: each try waits by its own backoff.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, replace

CLOSED, OPEN, HALF_OPEN, QUARANTINED = "closed", "open", "half-open", "quarantined"

#: Failures in a row, without one good byte between them, that open the breaker: a server that was killed shows them
#: at once on as many streams; a single connection that was reset is nothing.
FAILURES = 3
#: Seconds from the opening to the first probe; doubled by each that fails, up to the mirror's own interval.
FIRST_REST = 1.0


@dataclass(frozen=True, slots=True)
class CircuitBreaker:
    """``failures`` in a row; ``rest``: seconds before the next probe of an open one, which is due at ``until``;
    ``opened``: when it was opened last; ``reason``: the end of a sentence that says why it is not closed."""

    state: str = CLOSED
    failures: int = 0
    rest: float = FIRST_REST
    until: float = 0.0
    opened: float = -math.inf
    reason: str = ""

    @property
    def sound(self) -> bool:
        """Closed: chunks may be asked for without further thought."""
        return self.state == CLOSED

    def may_ask(self, running: int) -> bool:
        """May a chunk be asked for, with `running` tries at it already? A half-open one gets one try at a time."""
        return self.state == CLOSED or (self.state == HALF_OPEN and running == 0)

    def delivered(self, begun: float = math.inf) -> CircuitBreaker:
        """After good bytes came that were asked for at clock reading `begun`."""
        if begun < self.opened:
            return self
        if self.state == OPEN:
            return replace(self, state=HALF_OPEN, failures=0)
        return self if self.state == QUARANTINED else CircuitBreaker()

    def failed(self, now: float, why: str) -> CircuitBreaker:
        """After a try brought nothing."""
        if self.state == QUARANTINED:
            return self
        if self.state == OPEN:
            return replace(self, reason=why)
        counted = replace(self, failures=self.failures + 1, reason=why)
        return counted._opened(now) if self.state == HALF_OPEN or counted.failures >= FAILURES else counted

    def probed(self, now: float, why: str, interval: float) -> CircuitBreaker:
        """After a probe: it came back well where `why` is empty. The next one is at most `interval` seconds away."""
        if self.state == QUARANTINED:
            return self
        if not why:
            return replace(self, state=HALF_OPEN, failures=0) if self.state == OPEN else self
        rest = min(2 * self.rest, interval) if self.state == OPEN else self.rest
        return replace(self, reason=why, rest=rest)._opened(now)

    def tripped(self, now: float, why: str) -> CircuitBreaker:
        """After all that was asked of it brought nothing, or what it was asked says that nothing will."""
        return self if self.state == QUARANTINED else replace(self, reason=why)._opened(now)

    def quarantined(self, why: str) -> CircuitBreaker:
        """After it served wrong bytes."""
        return CircuitBreaker(QUARANTINED, reason=why)

    def _opened(self, now: float) -> CircuitBreaker:
        return replace(self, state=OPEN, failures=0, until=now + self.rest, opened=now)
