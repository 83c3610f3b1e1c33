"""How long a busy server gets no requests."""

from __future__ import annotations

import pytest

from modelferry.engine.pacing import BusyServer
from modelferry.http.backoff import ABSURD_DELAY


def test_a_delay_is_obeyed() -> None:
    assert BusyServer().record_busy(10.0, 25.0).pause == 25.0


def test_the_shortest_of_the_delays_that_are_asked_for_counts() -> None:
    assert BusyServer().record_busy(10.0, ABSURD_DELAY).record_busy(10.1, 3.0).pause == 3.0


def test_an_absurd_delay_is_approached_by_doubling() -> None:
    busy, pauses = BusyServer(), []
    for number in range(10):
        busy = busy.record_busy(float(number), ABSURD_DELAY)
        pauses.append(busy.pause)
    assert pauses == [2, 4, 8, 16, 32, 64, 128, 256, 300, 300]


@pytest.mark.parametrize(("requested_at", "in_row"), [(9.0, 1), (10.0, 0), (11.0, 0)])
def test_a_good_response_counts_if_it_was_requested_after_the_busy_one(requested_at: float, in_row: int) -> None:
    assert BusyServer().record_busy(10.0, 25.0).record_response(requested_at).in_row == in_row
