"""How the servers of each mirror are reached: which certificates to trust, which credential to send, which proxy."""

from __future__ import annotations

import ssl
from collections.abc import Mapping
from dataclasses import dataclass, field
from types import MappingProxyType

from modelferry.http.address_policy import AddressPolicy
from modelferry.http.auth.credentials import ANONYMOUS, Credential, hosts_allow
from modelferry.http.auth.presigned import Presigner
from modelferry.http.proxy.proxies import DIRECT, Proxies

_NONE: Mapping[str, Route] = MappingProxyType({})


@dataclass(frozen=True, slots=True, eq=False)
class ClientIdentity:
    """A client certificate: ``context`` presents it to a server that asks for one, and is used for ``hosts`` alone (as
    in `HostScoped`)."""

    context: ssl.SSLContext
    hosts: frozenset[str]


@dataclass(frozen=True, slots=True, eq=False)
class Route:
    """How one mirror is reached. Two are equal only if they are one object, so connections are kept apart by it.

    ``presigner``: makes presigned URLs of its locations, if it needs them. ``identity``: the client certificate, if
    there is one. ``tls_field``: the field of the spec with its TLS settings, for errors.
    """

    context: ssl.SSLContext
    credential: Credential = ANONYMOUS
    proxies: Proxies = DIRECT
    address_policy: AddressPolicy = field(default_factory=AddressPolicy)
    presigner: Presigner | None = None
    identity: ClientIdentity | None = None
    tls_field: str = "spec.transfer.tls"

    def trust(self, url: str) -> ssl.SSLContext:
        """What verifies the server of `url`; with the client certificate only where that is meant for it, so a redirect
        to another host does not take it there."""
        if self.identity is not None and hosts_allow(self.identity.hosts, url):
            return self.identity.context
        return self.context


class Routes:
    """The route to each mirror by its name; a mirror without one of its own is reached as the source is."""

    def __init__(self, default: Route, others: Mapping[str, Route] = _NONE) -> None:
        self._default, self._others = default, dict(others)

    def for_mirror(self, mirror: str) -> Route:
        """The route to `mirror`."""
        return self._others.get(mirror, self._default)
