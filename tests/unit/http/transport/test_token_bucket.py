"""The token bucket, by a clock of its own: what it gives, over a second and over an hour."""

from __future__ import annotations

from random import Random

import pytest

from modelferry.http.transport.token_bucket import TokenBucket

RATES = [125, 32_000, 5_000_000, 1_250_000_000]


def drawn(rate: float, seconds: float, piece: int, late: float, seed: int = 1) -> list[tuple[float, int]]:
    """(time, bytes) that a reader takes who wants `piece` bytes at a time and comes up to `late` seconds late."""
    chance, now, bucket, taken = Random(seed), 0.0, TokenBucket.empty(rate, 0.0), []
    while now < seconds:
        bucket, given = bucket.take(now, piece)
        taken.append((now, given))
        now += bucket.wait(now, piece) + chance.uniform(0, late)
    return taken


def busiest_second(taken: list[tuple[float, int]]) -> int:
    """The most bytes in any window of a second."""
    most = within = first = 0
    for now, given in taken:
        within += given
        while taken[first][0] <= now - 1.0:
            within -= taken[first][1]
            first += 1
        most = max(most, within)
    return most


@pytest.mark.parametrize("rate", RATES)
@pytest.mark.parametrize("late", [0.0, 0.01, 0.4])
def test_no_second_is_above_a_tenth_more_than_the_rate(rate: int, late: float) -> None:
    taken = drawn(rate, 20, max(1, rate // 40), late)
    assert busiest_second(taken) <= 1.1 * rate


@pytest.mark.parametrize("rate", RATES)
def test_over_a_long_time_it_is_the_rate_within_a_hundredth(rate: int) -> None:
    taken = drawn(rate, 100, max(1, rate // 40), 0.01)
    assert sum(given for _, given in taken) == pytest.approx(rate * 100, rel=0.01)


def test_it_begins_with_nothing() -> None:
    bucket, given = TokenBucket.empty(1000, 5.0).take(5.0, 100)
    assert given == 0
    assert bucket.wait(5.0, 10) == pytest.approx(0.01, abs=1e-5)


def test_an_hour_of_rest_saves_up_no_more_than_its_depth() -> None:
    assert TokenBucket.empty(1000, 0.0).take(3600.0, 10_000)[1] == 50


def test_another_rate_holds_from_its_moment_on() -> None:
    bucket = TokenBucket.empty(1000, 0.0).with_rate(2000, 0.01)
    assert bucket.take(0.02, 10_000)[1] == 10 + 20
    assert TokenBucket.empty(1000, 0.0).with_rate(100, 10.0).take(10.0, 10_000)[1] == 5
