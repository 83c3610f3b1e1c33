"""The circuit breaker of one mirror."""

from __future__ import annotations

from collections.abc import Callable

import pytest

from modelferry.engine.mirrors import BreakerState, CircuitBreaker
from modelferry.engine.mirrors.breaker import FAILURE_THRESHOLD, FIRST_PROBE_DELAY

HEALTHY = CircuitBreaker()
DOWN = CircuitBreaker(BreakerState.OPEN, probe_delay=4.0, next_probe_at=14.0, opened_at=10.0, reason="was reset")
RECOVERING = CircuitBreaker(BreakerState.HALF_OPEN, probe_delay=4.0, opened_at=10.0)
CORRUPT = CircuitBreaker(BreakerState.QUARANTINED, reason="served wrong bytes")


@pytest.mark.parametrize(
    ("before", "event", "after"),
    [
        (HEALTHY, lambda b: b.record_failure(1.0, "x"), BreakerState.CLOSED),
        (CircuitBreaker(failures=FAILURE_THRESHOLD - 1), lambda b: b.record_failure(1.0, "x"), BreakerState.OPEN),
        (
            CircuitBreaker(failures=FAILURE_THRESHOLD - 1),
            lambda b: b.record_success().record_failure(1.0, "x"),
            BreakerState.CLOSED,
        ),
        (HEALTHY, lambda b: b.record_probe(1.0, "", 30.0), BreakerState.CLOSED),
        (HEALTHY, lambda b: b.record_probe(1.0, "x", 30.0), BreakerState.OPEN),
        (HEALTHY, lambda b: b.trip(1.0, "x"), BreakerState.OPEN),
        (DOWN, lambda b: b.record_failure(1.0, "x"), BreakerState.OPEN),
        (DOWN, lambda b: b.record_probe(14.0, "x", 30.0), BreakerState.OPEN),
        (DOWN, lambda b: b.record_probe(14.0, "", 30.0), BreakerState.HALF_OPEN),
        (DOWN, lambda b: b.record_success(11.0), BreakerState.HALF_OPEN),
        (DOWN, lambda b: b.record_success(9.0), BreakerState.OPEN),
        (RECOVERING, lambda b: b.record_success(9.0), BreakerState.HALF_OPEN),
        (RECOVERING, lambda b: b.record_failure(15.0, "x"), BreakerState.OPEN),
        (RECOVERING, lambda b: b.record_success(), BreakerState.CLOSED),
        (CORRUPT, lambda b: b.record_success(), BreakerState.QUARANTINED),
        (CORRUPT, lambda b: b.record_failure(1.0, "x"), BreakerState.QUARANTINED),
        (CORRUPT, lambda b: b.record_probe(1.0, "", 30.0), BreakerState.QUARANTINED),
        (CORRUPT, lambda b: b.trip(1.0, "x"), BreakerState.QUARANTINED),
        (HEALTHY, lambda b: b.quarantine("served wrong bytes"), BreakerState.QUARANTINED),
    ],
)
def test_the_breaker(
    before: CircuitBreaker, event: Callable[[CircuitBreaker], CircuitBreaker], after: BreakerState
) -> None:
    assert event(before).state == after


def test_probes_of_a_mirror_that_stays_down_become_rarer_up_to_its_interval() -> None:
    breaker, now, waits = CircuitBreaker().trip(0.0, "is gone"), 0.0, []
    for _ in range(7):
        waits.append(breaker.next_probe_at - now)
        now = breaker.next_probe_at
        breaker = breaker.record_probe(now, "is gone", 30.0)
    assert waits == [FIRST_PROBE_DELAY, 2.0, 4.0, 8.0, 16.0, 30.0, 30.0]
    assert breaker.record_probe(now, "", 30.0).record_success() == CircuitBreaker()


def test_a_half_open_mirror_gets_one_request_at_a_time() -> None:
    assert [RECOVERING.allows_request(running) for running in (0, 1)] == [True, False]
    assert [HEALTHY.allows_request(running) for running in (0, 9)] == [True, True]
    assert not DOWN.allows_request(0)
    assert not CORRUPT.allows_request(0)
