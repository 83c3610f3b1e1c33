"""How long to wait, when to give up, how many connections."""

from __future__ import annotations

import pytest

from modelferry.engine.pace import FIRST_DELAY, MAX_DELAY, Budget, Pace, backoff


@pytest.mark.parametrize(("attempt", "most"), [(1, 0.5), (2, 1.0), (3, 2.0), (7, 30.0), (1000, 30.0)])
def test_a_backoff_doubles_up_to_its_cap_and_half_of_it_is_random(attempt: int, most: float) -> None:
    assert backoff(attempt, 0.0) == most / 2
    assert backoff(attempt, 0.999) == pytest.approx(most, rel=0.01)
    assert FIRST_DELAY / 2 <= backoff(attempt, 0.5) <= MAX_DELAY


def test_patience_is_spent_by_time_without_progress() -> None:
    budget = Budget(patience=60.0, progressed=100.0)
    assert not budget.spent(160.0)
    assert budget.spent(160.1)
    assert not budget.progress(150.0).spent(210.0)


def test_a_busy_server_is_asked_by_half_as_many() -> None:
    pace = Pace.start(16)
    assert pace.busy().allowed == 8
    for _ in range(10):
        pace = pace.busy()
    assert pace.allowed == 1


def test_good_chunks_win_connections_back_one_by_one() -> None:
    pace = Pace.start(4).busy()
    counts = []
    for _ in range(7):
        pace = pace.fetched()
        counts.append(pace.allowed)
    assert counts == [2, 3, 3, 3, 4, 4, 4]
