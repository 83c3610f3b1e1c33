"""URLs that carry their own permission and expire. What is asked is made or read anew for every request, so a download
that takes hours has no moment at which its URLs run out.

A place of such a mirror has a URL without the permission, which stands for it in messages and rows.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from datetime import datetime
from typing import Protocol

from modelferry.http.auth.sigv4 import Keys, presigned

#: Seconds for which a Secret that was read is taken to be what it is.
_FRESH = 1.0


class Presigner(Protocol):
    """Gives permission to a place's URL. It never shows its secret in `repr`."""

    async def url(self, location: str) -> str:
        """What is to be asked now in the place of `location`. Raises KeyError where there is nothing for it."""


@dataclass(frozen=True, slots=True)
class SigV4URLs:
    """URLs made from `keys`, each for `expires` seconds from the time that `clock` tells (UTC)."""

    keys: Keys
    region: str
    expires: int
    clock: Callable[[], datetime]

    async def url(self, location: str) -> str:
        """See Presigner."""
        return presigned(location, self.keys, region=self.region, now=self.clock(), expires=self.expires)


@dataclass(slots=True)
class StoredURLs:
    """URLs that somebody keeps up to date: `read` gives them by place, and blocks (it reads files). `clock` gives
    seconds."""

    read: Callable[[], Mapping[str, str]] = field(repr=False)
    clock: Callable[[], float]
    _urls: Mapping[str, str] = field(default_factory=dict, repr=False)
    _at: float = float("-inf")

    async def url(self, location: str) -> str:
        """See Presigner."""
        if self.clock() - self._at > _FRESH:
            self._urls, self._at = await asyncio.to_thread(self.read), self.clock()
        return self._urls[location]
