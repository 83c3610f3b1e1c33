"""The addresses of clusters."""

from __future__ import annotations

from ipaddress import IPv4Address, IPv4Network

import pytest

from cluster import network
from cluster.network import CANDIDATES, MAX_NODES, Subnet, free_subnet
from cluster.shell import ClusterError

SUBNET = Subnet(IPv4Network("10.70.0.0/16"))


def test_parts_of_a_subnet_do_not_overlap() -> None:
    parts = [SUBNET.nodes, *(SUBNET.pods(index) for index in range(MAX_NODES))]
    assert len({part.network_address for part in parts}) == len(parts)
    assert all(part.subnet_of(SUBNET.network) for part in parts)


def test_machine_control_plane_and_nodes_have_different_addresses() -> None:
    addresses = [SUBNET.host, SUBNET.control_plane, *(SUBNET.node(index) for index in range(MAX_NODES))]
    assert len(set(addresses)) == len(addresses)
    assert all(IPv4Address(address) in SUBNET.nodes for address in addresses)


def test_a_free_subnet_overlaps_no_used_network() -> None:
    taken = [IPv4Network("10.64.0.0/15"), IPv4Network("10.66.3.4/32"), IPv4Network("192.168.0.0/16")]
    assert free_subnet(taken).network == IPv4Network("10.67.0.0/16")


def test_without_a_free_subnet_the_error_has_the_remedy() -> None:
    with pytest.raises(ClusterError, match="cluster clean"):
        free_subnet(CANDIDATES)


def test_names_of_two_clusters_never_collide() -> None:
    assert network.node_netns("a", "b-0") != network.node_netns("a-b", "0")
    assert len(network.link_name("x" * 11)) <= 15  # the maximum length of a link name in Linux
