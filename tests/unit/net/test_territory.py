"""Who may lead where: nobody from the public network into a private one."""

from __future__ import annotations

import pytest

from modelferry.errors import PrivateAddress
from modelferry.net.territory import Territory, is_public


@pytest.mark.parametrize(
    ("address", "public"),
    [
        ("93.184.216.34", True),
        ("2606:2800:220:1::1", True),
        ("10.0.0.1", False),
        ("127.0.0.1", False),
        ("169.254.169.254", False),
        ("100.64.0.1", False),
        ("0.0.0.0", False),
        ("224.0.0.1", False),
        ("::1", False),
        ("fd00::1", False),
        ("fe80::1%eth0", False),
        ("::ffff:10.0.0.1", False),
        ("::ffff:93.184.216.34", True),
        ("64:ff9b::a00:1", False),
        ("64:ff9b::5db8:d822", True),
        ("2002:a00:1::1", False),
    ],
)
def test_an_address_is_public_by_where_its_packets_end(address: str, public: bool) -> None:
    assert is_public(address) is public


def test_a_user_may_name_a_server_in_a_private_network() -> None:
    territory = Territory()
    assert territory.admit("models.internal", ["10.0.0.5"]) == {"10.0.0.5"}
    assert territory.admit("models.internal", ["10.0.0.6"]) == {"10.0.0.6"}
    territory.lead("models.internal", "storage.internal")
    assert territory.admit("storage.internal", ["10.0.0.7"]) == {"10.0.0.7"}


def test_a_name_that_was_public_may_not_become_private() -> None:
    territory = Territory()
    territory.admit("cdn.example.com", ["93.184.216.34"])
    assert territory.admit("cdn.example.com", ["10.0.0.1", "93.184.216.34"]) == {"93.184.216.34"}
    with pytest.raises(PrivateAddress, match=r"cdn\.example\.com .* private address 10\.0\.0\.1 .*rebinding"):
        territory.admit("cdn.example.com", ["10.0.0.1"])


def test_where_a_public_server_redirects_to_must_be_public() -> None:
    territory = Territory()
    territory.admit("models.example.com", ["93.184.216.34"])
    territory.lead("models.example.com", "169.254.169.254")
    with pytest.raises(PrivateAddress, match=r"169\.254\.169\.254"):
        territory.admit("169.254.169.254", ["169.254.169.254"])
    territory.lead("models.example.com", "cdn.example.com")
    assert territory.admit("cdn.example.com", ["93.184.216.35"]) == {"93.184.216.35"}


def test_a_connection_that_stands_already_is_no_way_in() -> None:
    territory = Territory()
    territory.admit("vault.internal", ["10.0.0.5"])
    territory.admit("models.example.com", ["93.184.216.34"])
    with pytest.raises(PrivateAddress, match=r"redirects to vault\.internal in a private network"):
        territory.lead("models.example.com", "vault.internal")
