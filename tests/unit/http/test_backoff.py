"""How long to wait before a request is sent again."""

from __future__ import annotations

import pytest

from modelferry.http.backoff import FIRST_DELAY, MAX_DELAY, backoff


@pytest.mark.parametrize(("failures", "most"), [(1, 0.5), (2, 1.0), (3, 2.0), (7, 30.0), (1000, 30.0)])
def test_a_backoff_doubles_up_to_its_cap_and_half_of_it_is_random(failures: int, most: float) -> None:
    assert backoff(failures, 0.0) == most / 2
    assert backoff(failures, 0.999) == pytest.approx(most, rel=0.01)
    assert FIRST_DELAY / 2 <= backoff(failures, 0.5) <= MAX_DELAY
