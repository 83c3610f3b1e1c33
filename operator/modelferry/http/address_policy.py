"""The SSRF guard: a server in the public network may not lead a request into a private one.

The author of a ModelArtifact may name any server, also one in a private network. But what a public server answers is
not the author's choice: a redirect to ``http://169.254.169.254/``, or a name that resolves to a public address first
and to a private one later (DNS rebinding), would send requests to machines that only this network reaches. The very
addresses that are connected to are checked, so that the name cannot resolve differently in between. Where a proxy
resolves the names, the proxy must forbid it.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from ipaddress import IPv4Address, IPv6Address, ip_address, ip_network

from modelferry.errors import PrivateAddress

#: Addresses that are translated to IPv4; their last 32 bits are the IPv4 address (RFC 6052 section 2.1).
_NAT64 = ip_network("64:ff9b::/96")


def is_public(address: str) -> bool:
    """Whether `address` (an IP address as text, with or without a zone) is in the public network."""
    ip = ip_address(address.partition("%")[0])
    inner = _embedded(ip) if isinstance(ip, IPv6Address) else None
    return (inner or ip).is_global and not ip.is_multicast


def _embedded(ip: IPv6Address) -> IPv4Address | None:
    """The IPv4 address that packets to `ip` are delivered to, if there is one."""
    if ip in _NAT64:
        return IPv4Address(int(ip) & 0xFFFFFFFF)
    return ip.ipv4_mapped or ip.sixtofour or (ip.teredo[1] if ip.teredo else None)


@dataclass(slots=True)
class AddressPolicy:
    """Remembers of each host name whether it is in the public network."""

    public: Callable[[str], bool] = is_public
    _known: dict[str, bool] = field(default_factory=dict)

    def filter_addresses(self, host: str, addresses: Iterable[str]) -> set[str]:
        """Those of `addresses` of `host` that may be connected to. Raises PrivateAddress where there is none."""
        found = set(addresses)
        public = {address for address in found if self.public(address)}
        if not self._known.get(host):
            self._known[host] = public == found
            return found
        if not public:
            raise PrivateAddress(
                f"{host} is in the public network, or a public server redirected to it, and resolves to the private"
                f" address {min(found)} (DNS rebinding?); ask its operator, or name the server itself"
            )
        return public

    def check_redirect(self, host: str, to: str) -> None:
        """`host` redirects to `to`. Raises PrivateAddress where it may not."""
        if not self._known.get(host):
            return
        if not self._known.setdefault(to, True):
            raise PrivateAddress(
                f"the public server {host} redirects to {to} in a private network; ask its operator, or name the server"
                " itself"
            )
