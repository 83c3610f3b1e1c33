"""The rate at which a count grows."""

from __future__ import annotations

import pytest

from modelferry.engine.pacing import RateMeter, stream_meter

WINDOW = 10.0


def test_a_meter_forgets_what_was_long_ago() -> None:
    found = stream_meter()
    for step in range(100):
        found = found.sampled(step / 4, step * 10 if step < 60 else 600)
    assert found.rate == 0.0
    assert found.seconds == pytest.approx(5.0, abs=0.5)
    steady = stream_meter()
    for step in range(21):
        steady = steady.sampled(step / 4, int(step / 4 * 1000.0))
    assert steady.rate == pytest.approx(1000.0)


def test_the_rate_is_that_of_the_last_seconds() -> None:
    meter = RateMeter(WINDOW)
    assert meter.rate_at(0.0) == 0.0
    for second in range(30):
        meter = meter.sampled(float(second), 100 * second if second < 10 else 1000 + 500 * (second - 10))
    assert meter.rate_at(29.0) == 500.0
    assert meter.rate_at(29.0 + WINDOW) == 250.0


def test_a_count_that_falls_starts_the_measurement_again() -> None:
    meter = RateMeter(WINDOW)
    meter = meter.sampled(0.0, 100)
    meter = meter.sampled(1.0, 50)
    assert meter.rate_at(1.0) == 0.0
    meter = meter.sampled(2.0, 80)
    assert meter.rate_at(2.0) == 30.0


def test_rare_samples_count_as_well() -> None:
    meter = RateMeter(WINDOW)
    for second in (0, 60, 120):
        meter = meter.sampled(float(second), second * 10)
    assert meter.rate_at(120.0) == 10.0
