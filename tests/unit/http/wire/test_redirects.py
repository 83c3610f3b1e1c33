"""Where a Location field leads."""

from __future__ import annotations

import pytest

from modelferry.http.wire.redirects import redirect_target

URL = "https://h.example/models/a?X-Signature=s"


@pytest.mark.parametrize(
    ("location", "target"),
    [
        ("https://cdn.example/a%2fb?d=%c3%bc'(*)~", "https://cdn.example/a%2fb?d=%c3%bc'(*)~"),
        ("//cdn.example/a", "https://cdn.example/a"),
        ("/b", "https://h.example/b"),
        ("b", "https://h.example/models/b"),
        ("?page=2", "https://h.example/models/a?page=2"),
        ("b#part", "https://h.example/models/b"),
        ("/a b?c= d", "https://h.example/a%20b?c=%20d"),
        ("/\u00c3\u00bc", "https://h.example/%C3%BC"),  # UTF-8, as a head's latin-1 shows it
        ("/\u00fc", "https://h.example/%FC"),  # latin-1 itself: the byte stays what it is
    ],
)
def test_a_location_is_resolved_against_the_url_and_percent_encoded(location: str, target: str) -> None:
    assert redirect_target(URL, location) == target


@pytest.mark.parametrize(
    "location",
    [None, "", "ftp://h/a", "https://h:0/", "https://h:x/", "https://u:p@h/", "https://[::1/"],
)
def test_a_location_that_cannot_be_requested_is_none(location: str | None) -> None:
    assert redirect_target(URL, location) is None
