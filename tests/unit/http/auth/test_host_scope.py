"""The hosts that a credential may be sent to."""

from __future__ import annotations

import pytest

from modelferry.http.auth.credentials import hosts_allow, parse_hosts
from modelferry.values.urls import authority


@pytest.mark.parametrize(
    "url",
    ["https://models.example.com/a", "https://models.example.com:8443/a", "https://[2001:db8::7]/a", "https://[::1]:8443/a"],
)  # fmt: skip
def test_the_host_of_a_url_may_have_its_own_credential(url: str) -> None:
    """A source at an IPv6 address never received its token: its host was compared without the brackets."""
    assert hosts_allow(frozenset({authority(url)}), url)


@pytest.mark.parametrize(
    ("listed", "url", "allowed"),
    [
        ("2001:db8::7", "https://[2001:db8::7]:8443/a", True),
        ("[2001:DB8::7]", "https://[2001:db8::7]:8443/a", True),
        ("[2001:db8::7]:443", "https://[2001:db8::7]/a", True),
        ("[2001:db8::7]:8443", "https://[2001:db8::7]/a", False),
        ("models.example.com:443, cdn.example.com", "https://cdn.example.com:8443/a", True),
        ("models.example.com:443", "https://models.example.com:8443/a", False),
        ("[::1]", "https://[::2]/a", False),
    ],
)
def test_listed_hosts_are_allowed_with_their_port_or_with_any(listed: str, url: str, allowed: bool) -> None:
    assert hosts_allow(parse_hosts(listed), url) is allowed
