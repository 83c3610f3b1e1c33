"""Presigned URLs, which carry their own permission and expire. The URL is made or read again for each request, so a
download that takes hours never uses one that has expired meanwhile.

A location of such a mirror has a URL without the permission, which names it in messages and in chunks.db.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from datetime import datetime
from typing import Protocol

from modelferry.http.auth.sigv4 import Keys, presign

#: Seconds for which the content of a Secret is cached.
_FRESH = 1.0


class Presigner(Protocol):
    """Makes presigned URLs. Its `repr` never contains its secret."""

    async def url(self, location: str) -> str:
        """The URL to request now for the URL `location`. Raises KeyError where there is none for it."""


@dataclass(frozen=True, slots=True)
class SigV4URLs:
    """URLs signed with `keys`, each valid for `expires` seconds from the time of `clock` (UTC)."""

    keys: Keys
    region: str
    expires: int
    clock: Callable[[], datetime]

    async def url(self, location: str) -> str:
        """See Presigner."""
        return presign(location, self.keys, region=self.region, now=self.clock(), expires=self.expires)


@dataclass(slots=True)
class StoredURLs:
    """URLs that are kept up to date in a Secret: `read` returns them by location, and blocks (it reads files). `clock`
    gives seconds."""

    read: Callable[[], Mapping[str, str]] = field(repr=False)
    clock: Callable[[], float]
    _urls: Mapping[str, str] = field(default_factory=dict, repr=False)
    _at: float = float("-inf")

    async def url(self, location: str) -> str:
        """See Presigner."""
        if self.clock() - self._at > _FRESH:
            self._urls, self._at = await asyncio.to_thread(self.read), self.clock()
        return self._urls[location]
