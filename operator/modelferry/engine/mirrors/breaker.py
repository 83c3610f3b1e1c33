"""The circuit breaker of one mirror. Pure: clock readings are arguments.

::

    state        event                                       state afterwards
    -----------  ------------------------------------------  ----------------
    CLOSED       FAILURE_THRESHOLD failures in a row         OPEN
    CLOSED       a failed probe                              OPEN
    OPEN         a good probe                                HALF_OPEN
    OPEN         good bytes that were requested after it     HALF_OPEN
    HALF_OPEN    good bytes that were requested after OPEN   CLOSED
    HALF_OPEN    a failure, or a failed probe                OPEN
    any          it is tripped                               OPEN
    any          it served corrupt data                      QUARANTINED
    QUARANTINED  any                                         QUARANTINED

Good bytes that were requested before it opened do not show what the mirror is now. A quarantined one served corrupt
data, and stays so for the rest of this download.

An open mirror gets no requests but for one byte at a time (a probe), at growing intervals; so no chunk waits for a
mirror that is down. If all are open, the breakers decide nothing: each attempt waits for its own backoff.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, replace
from enum import Enum

#: Failures in a row, without one good byte between them, that open the breaker: a server that was killed shows them
#: at once on as many streams; a single connection that was reset is nothing.
FAILURE_THRESHOLD = 3
#: Seconds from the opening to the first probe; doubled by each that fails, up to the mirror's own interval.
FIRST_PROBE_DELAY = 1.0


class BreakerState(Enum):
    """The state of a circuit breaker."""

    CLOSED = "closed"
    OPEN = "open"
    HALF_OPEN = "half-open"
    QUARANTINED = "quarantined"


@dataclass(frozen=True, slots=True)
class CircuitBreaker:
    """``failures`` in a row; ``probe_delay``: seconds before the next probe of an open one, which is due at
    ``next_probe_at``; ``opened_at``: when it opened last; ``reason``: the end of a sentence that says why it is not
    closed."""

    state: BreakerState = BreakerState.CLOSED
    failures: int = 0
    probe_delay: float = FIRST_PROBE_DELAY
    next_probe_at: float = 0.0
    opened_at: float = -math.inf
    reason: str = ""

    @property
    def is_closed(self) -> bool:
        """Is the mirror healthy?"""
        return self.state is BreakerState.CLOSED

    @property
    def is_quarantined(self) -> bool:
        """Did the mirror serve corrupt data?"""
        return self.state is BreakerState.QUARANTINED

    @property
    def serves(self) -> bool:
        """Is the mirror healthy, or recovering?"""
        return self.state in (BreakerState.CLOSED, BreakerState.HALF_OPEN)

    def allows_request(self, running: int) -> bool:
        """May a chunk be requested, with `running` requests already in flight? A half-open mirror gets one at a
        time."""
        return self.is_closed or (self.state is BreakerState.HALF_OPEN and running == 0)

    def record_success(self, requested_at: float = math.inf) -> CircuitBreaker:
        """After good bytes arrived that were requested at clock reading `requested_at`."""
        if requested_at < self.opened_at:
            return self
        if self.state is BreakerState.OPEN:
            return replace(self, state=BreakerState.HALF_OPEN, failures=0)
        return self if self.is_quarantined else CircuitBreaker()

    def record_failure(self, now: float, reason: str) -> CircuitBreaker:
        """After an attempt delivered nothing."""
        if self.is_quarantined:
            return self
        if self.state is BreakerState.OPEN:
            return replace(self, reason=reason)
        counted = replace(self, failures=self.failures + 1, reason=reason)
        opens = self.state is BreakerState.HALF_OPEN or counted.failures >= FAILURE_THRESHOLD
        return counted._opened(now) if opens else counted

    def record_probe(self, now: float, error: str, interval: float) -> CircuitBreaker:
        """After a probe, which succeeded if `error` is empty. The next one is at most `interval` seconds away."""
        if self.is_quarantined:
            return self
        is_open = self.state is BreakerState.OPEN
        if not error:
            return replace(self, state=BreakerState.HALF_OPEN, failures=0) if is_open else self
        delay = min(2 * self.probe_delay, interval) if is_open else self.probe_delay
        return replace(self, reason=error, probe_delay=delay)._opened(now)

    def trip(self, now: float, reason: str) -> CircuitBreaker:
        """After all requests to the mirror delivered nothing, or an error shows that none will."""
        return self if self.is_quarantined else replace(self, reason=reason)._opened(now)

    def quarantine(self, reason: str) -> CircuitBreaker:
        """After the mirror served corrupt data."""
        return CircuitBreaker(BreakerState.QUARANTINED, reason=reason)

    def _opened(self, now: float) -> CircuitBreaker:
        return replace(self, state=BreakerState.OPEN, failures=0, next_probe_at=now + self.probe_delay, opened_at=now)
