"""How the servers of each mirror are reached: whom to trust, what to show them, and through which proxy."""

from __future__ import annotations

import ssl
from collections.abc import Mapping
from dataclasses import dataclass, field
from types import MappingProxyType

from modelferry.http.address_policy import AddressPolicy
from modelferry.http.auth.credentials import ANONYMOUS, Credential, hosts_allow
from modelferry.http.auth.presigned import Presigner
from modelferry.http.proxy.selection import DIRECT, Proxies

_NONE: Mapping[str, Route] = MappingProxyType({})


@dataclass(frozen=True, slots=True, eq=False)
class ClientIdentity:
    """A client certificate: ``context`` shows it to whoever asks for one, and is for ``hosts`` alone (as HostScoped has
    them)."""

    context: ssl.SSLContext
    hosts: frozenset[str]


@dataclass(frozen=True, slots=True, eq=False)
class Route:
    """The way to one mirror; two are the same only if they are one object, so connections are kept apart by it.
    ``presigner``: gives permission to its places' URLs, where they need it. ``identity``: who we are by TLS, where
    somebody wants to know. ``where``: the field of the spec that says how it is trusted."""

    context: ssl.SSLContext
    credential: Credential = ANONYMOUS
    proxies: Proxies = DIRECT
    address_policy: AddressPolicy = field(default_factory=AddressPolicy)
    presigner: Presigner | None = None
    identity: ClientIdentity | None = None
    where: str = "spec.transfer.tls"

    def trust(self, url: str) -> ssl.SSLContext:
        """What verifies the server behind `url`; with the client certificate only where that is meant for it, so a
        redirect to another host does not bring it there."""
        if self.identity is not None and hosts_allow(self.identity.hosts, url):
            return self.identity.context
        return self.context


class Routes:
    """The way to each mirror by its name; a mirror without one of its own is reached as the source is."""

    def __init__(self, default: Route, others: Mapping[str, Route] = _NONE) -> None:
        self._default, self._others = default, dict(others)

    def of(self, mirror: str) -> Route:
        """The way to `mirror`."""
        return self._others.get(mirror, self._default)
