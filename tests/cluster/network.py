"""A cluster's addresses, network namespaces and links.

    the machine              CLUSTER's namespace `mf-C`            `mf-C.node-0`
    mf-C 10.S.0.1/24 ──────┐ bridge 10.S.0.2/24: control plane ┌── eth0 10.S.0.10/24; pods 10.S.1.0/24
                           └─────────────────┬─────────────────┴── eth0 10.S.0.11/24; pods 10.S.2.0/24 (node-1)

The machine gets one link, one address and one route, and forwards nothing. The cluster's namespace routes between the
pods of the nodes, and to the machine. Everything inside the namespaces is deleted with them.
"""

from __future__ import annotations

import json
from collections.abc import Iterable
from dataclasses import dataclass
from ipaddress import IPv4Network
from pathlib import Path

from .shell import ClusterError, run

PREFIX = "mf-"
NETNS_DIRECTORY = Path("/run/netns")
CANDIDATES = [
    *(IPv4Network(f"10.{second}.0.0/16") for second in range(64, 128)),
    *(IPv4Network(f"172.{second}.0.0/16") for second in range(16, 32)),  # if all of 10.0.0.0/8 is routed
]
MIN_PREFIX = 8  # bits: a route to a larger network is a kind of default route, such as a VPN's 0.0.0.0/1
SERVICES = IPv4Network("10.200.0.0/16")  # virtual, visible only inside nodes and pods, so all clusters use the same
FIRST_NODE = 10  # the last byte of node-0's address
MAX_NODES = 200
BRIDGE_MAC = "02:00:00:00:00:02"


@dataclass(frozen=True)
class Subnet:
    """The addresses of one cluster, a /16: the nodes in the first /24, each node's pods in a /24 of their own."""

    network: IPv4Network

    @property
    def host(self) -> str:
        """The machine's address, reachable from pods."""
        return str(self.network[1])

    @property
    def control_plane(self) -> str:
        """The API server's address, reachable from the machine, nodes and pods."""
        return str(self.network[2])

    @property
    def nodes(self) -> IPv4Network:
        """The link between the machine, the control plane and the nodes."""
        return next(self.network.subnets(new_prefix=24))

    def node(self, index: int) -> str:
        """A node's address."""
        return str(self.nodes[FIRST_NODE + index])

    def pods(self, index: int) -> IPv4Network:
        """The addresses of a node's pods."""
        return list(self.network.subnets(new_prefix=24))[1 + index]


def free_subnet(taken: Iterable[IPv4Network]) -> Subnet:
    """The first subnet that overlaps no network in `taken`."""
    used = list(taken)
    for candidate in CANDIDATES:
        if not any(candidate.overlaps(network) for network in used):
            return Subnet(candidate)
    raise ClusterError(
        f"no free subnet among {CANDIDATES[0]} ... {CANDIDATES[-1]}; clean up with: python3 -m cluster clean"
    )


def routed() -> list[IPv4Network]:
    """The networks that the machine has a route or an address in, without the default route."""
    routes = json.loads(run(["ip", "-4", "-json", "route", "show", "table", "all"]))
    found = [IPv4Network(route["dst"], strict=False) for route in routes if route["dst"] != "default"]
    return [network for network in found if network.prefixlen >= MIN_PREFIX]


def link_name(cluster: str) -> str:
    """The machine's end of the link to the cluster; also the name of the cluster's network namespace."""
    return f"{PREFIX}{cluster}"


def node_netns(cluster: str, node: str) -> str:
    """The name of a node's network namespace; cluster names have no dot, so no two clusters share one."""
    return f"{PREFIX}{cluster}.{node}"


def netns_names() -> list[str]:
    """All network namespaces of the machine that have a name."""
    return sorted(p.name for p in NETNS_DIRECTORY.iterdir()) if NETNS_DIRECTORY.is_dir() else []


def inside(netns: str) -> list[str]:
    """The prefix of a command that runs in a network namespace."""
    return ["nsenter", f"--net={NETNS_DIRECTORY / netns}"]


def create_cluster_network(cluster: str, subnet: Subnet) -> None:
    """Creates the cluster's namespace and its link to the machine."""
    name = link_name(cluster)
    run(["ip", "netns", "add", name])
    _ip(name, "link set lo up")
    # A fixed MAC address; by default it is that of a port, and changes when nodes are added or removed.
    _ip(name, f"link add bridge address {BRIDGE_MAC} type bridge")
    _ip(name, f"addr add {subnet.control_plane}/24 dev bridge")
    _ip(name, "link set bridge up")
    _forward(name)
    run(["ip", "link", "add", name, "type", "veth", "peer", "name", "host", "netns", name])
    _ip(name, "link set host master bridge up")
    run(["ip", "addr", "add", f"{subnet.host}/24", "dev", name])
    run(["ip", "link", "set", name, "up"])
    run(["ip", "route", "add", str(subnet.network), "via", subnet.control_plane])


def create_node_network(cluster: str, node: str, index: int, subnet: Subnet) -> None:
    """Creates a node's namespace, or replaces it, and its link to the cluster's bridge."""
    delete_node_network(cluster, node, index)
    name, switch, port = node_netns(cluster, node), link_name(cluster), f"port{index}"
    run(["ip", "netns", "add", name])
    mac = f"02:00:00:00:01:{FIRST_NODE + index:02x}"  # the same after a restart, so that ARP caches stay valid
    _ip(switch, f"link add {port} type veth peer name eth0 address {mac} netns {name}")
    _ip(switch, f"link set {port} master bridge up")
    _ip(name, "link set lo up")
    _ip(name, f"addr add {subnet.node(index)}/24 dev eth0")
    _ip(name, "link set eth0 up")
    _ip(name, f"route add default via {subnet.control_plane}")
    _ip(switch, f"route replace {subnet.pods(index)} via {subnet.node(index)}")
    _forward(name)


def delete_node_network(cluster: str, node: str, index: int) -> None:
    """Removes a node's namespace and its link to the cluster's bridge; no error if they do not exist."""
    name, switch = node_netns(cluster, node), link_name(cluster)
    names = netns_names()
    if switch in names and f"port{index}" in run(["ip", "-n", switch, "-brief", "link"]).replace("@", " ").split():
        _ip(switch, f"link del port{index}")  # the kernel would delete it only some time after the namespace
    if name in names:
        run(["ip", "netns", "del", name])


def delete_cluster_network(cluster: str) -> None:
    """Deletes what `create_cluster_network` and `create_node_network` created; no error if it does not exist."""
    name = link_name(cluster)
    if Path("/sys/class/net", name).exists():
        run(["ip", "link", "del", name])
    for netns in netns_names():
        if netns == name or netns.startswith(f"{name}."):
            run(["ip", "netns", "del", netns])


def _ip(netns: str, arguments: str) -> None:
    run(["ip", "-n", netns, *arguments.split()])


def _forward(netns: str) -> None:
    run([*inside(netns), "sh", "-c", "cd /proc/sys/net/ipv4 && echo 1 >ip_forward && echo 0 >conf/all/send_redirects"])
