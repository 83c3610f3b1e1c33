"""How the servers of each mirror are reached: whom to trust, what to show them, and through which proxy."""

from __future__ import annotations

import ssl
from collections.abc import Mapping
from dataclasses import dataclass, field
from types import MappingProxyType

from modelferry.net.credentials import NOBODY, Credential
from modelferry.net.presigned import Presigner
from modelferry.net.proxy import DIRECT, Proxies
from modelferry.net.territory import Territory

_NONE: Mapping[str, Way] = MappingProxyType({})


@dataclass(frozen=True, slots=True, eq=False)
class Way:
    """The way to one mirror; two are the same only if they are one object, so connections are kept apart by it.
    ``presigner``: gives permission to its places' URLs, where they need it."""

    context: ssl.SSLContext
    credential: Credential = NOBODY
    proxies: Proxies = DIRECT
    territory: Territory = field(default_factory=Territory)
    presigner: Presigner | None = None


class Ways:
    """The way to each mirror by its name; a mirror without one of its own is reached as the source is."""

    def __init__(self, default: Way, others: Mapping[str, Way] = _NONE) -> None:
        self._default, self._others = default, dict(others)

    def of(self, mirror: str) -> Way:
        """The way to `mirror`."""
        return self._others.get(mirror, self._default)
