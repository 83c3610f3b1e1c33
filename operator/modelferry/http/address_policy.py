"""Nobody outside may lead us inside: a server in the public network, and a name that belonged to one, stay public.

Whoever writes a ModelArtifact may name any server, also one of the company's own. But what a public server answers is
somebody else's word: a redirect to ``http://169.254.169.254/``, or a name that resolves to a public address first and
to a private one later (DNS rebinding), would have us ask machines that only we can reach. The addresses are checked
that are dialled, so no second look at the name may differ. Where a proxy resolves the names, it is the proxy's to
forbid.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from ipaddress import IPv4Address, IPv6Address, ip_address, ip_network

from modelferry.errors import PrivateAddress

#: Addresses that a translator takes to IPv4, which stands in their last 32 bits (RFC 6052 section 2.1).
_NAT64 = ip_network("64:ff9b::/96")


def is_public(address: str) -> bool:
    """Is `address` (an IP address as text, with or without a zone) one of the public network?"""
    ip = ip_address(address.partition("%")[0])
    inner = _within(ip) if isinstance(ip, IPv6Address) else None
    return (inner or ip).is_global and not ip.is_multicast


def _within(ip: IPv6Address) -> IPv4Address | None:
    """The IPv4 address that packets to `ip` end at, where there is one."""
    if ip in _NAT64:
        return IPv4Address(int(ip) & 0xFFFFFFFF)
    return ip.ipv4_mapped or ip.sixtofour or (ip.teredo[1] if ip.teredo else None)


@dataclass(slots=True)
class AddressPolicy:
    """What is known of hosts by their names: whether each stands in the public network."""

    public: Callable[[str], bool] = is_public
    _known: dict[str, bool] = field(default_factory=dict)

    def filter_addresses(self, host: str, addresses: Iterable[str]) -> set[str]:
        """Those of `addresses` of `host` that may be dialled. Raises PrivateAddress where there is none."""
        found = set(addresses)
        public = {address for address in found if self.public(address)}
        if not self._known.get(host):
            self._known[host] = public == found
            return found
        if not public:
            raise PrivateAddress(
                f"{host} is a server of the public network, or was named by one, and leads to the private address"
                f" {min(found)} (DNS rebinding?); ask its operator, or name the server itself"
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
