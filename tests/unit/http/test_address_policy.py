"""Who may lead where: nobody from the public network into a private one."""

from __future__ import annotations

import pytest

from modelferry.errors import PrivateAddress
from modelferry.http.address_policy import AddressPolicy, is_public


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
    address_policy = AddressPolicy()
    assert address_policy.filter_addresses("models.internal", ["10.0.0.5"]) == {"10.0.0.5"}
    assert address_policy.filter_addresses("models.internal", ["10.0.0.6"]) == {"10.0.0.6"}
    address_policy.check_redirect("models.internal", "storage.internal")
    assert address_policy.filter_addresses("storage.internal", ["10.0.0.7"]) == {"10.0.0.7"}


def test_a_name_that_was_public_may_not_become_private() -> None:
    address_policy = AddressPolicy()
    address_policy.filter_addresses("cdn.example.com", ["93.184.216.34"])
    assert address_policy.filter_addresses("cdn.example.com", ["10.0.0.1", "93.184.216.34"]) == {"93.184.216.34"}
    with pytest.raises(PrivateAddress, match=r"cdn\.example\.com .* private address 10\.0\.0\.1 .*rebinding"):
        address_policy.filter_addresses("cdn.example.com", ["10.0.0.1"])


def test_where_a_public_server_redirects_to_must_be_public() -> None:
    address_policy = AddressPolicy()
    address_policy.filter_addresses("models.example.com", ["93.184.216.34"])
    address_policy.check_redirect("models.example.com", "169.254.169.254")
    with pytest.raises(PrivateAddress, match=r"169\.254\.169\.254"):
        address_policy.filter_addresses("169.254.169.254", ["169.254.169.254"])
    address_policy.check_redirect("models.example.com", "cdn.example.com")
    assert address_policy.filter_addresses("cdn.example.com", ["93.184.216.35"]) == {"93.184.216.35"}


def test_a_connection_that_stands_already_is_no_way_in() -> None:
    address_policy = AddressPolicy()
    address_policy.filter_addresses("vault.internal", ["10.0.0.5"])
    address_policy.filter_addresses("models.example.com", ["93.184.216.34"])
    with pytest.raises(PrivateAddress, match=r"redirects to vault\.internal in a private network"):
        address_policy.check_redirect("models.example.com", "vault.internal")
