"""The field RateLimit."""

from __future__ import annotations

import pytest

from modelferry.http.wire.ratelimit import until_reset


@pytest.mark.parametrize(
    ("text", "seconds"),
    [
        ('"api";r=0;t=55', 55.0),
        ('"api"; r=0; t=55', 55.0),
        ('"api";r=0;t=5, "resolvers";r=0;t=200', 200.0),
        ('"api";r=12;t=55', None),
        ('"api";r=12;t=299, "resolvers";r=0;t=20', 20.0),
        ("api;r=0;t=55", None),
        ("0", None),
        ("", None),
    ],
)
def test_a_quota_that_is_used_up_says_when_it_is_filled_again(text: str, seconds: float | None) -> None:
    assert until_reset(text) == seconds
