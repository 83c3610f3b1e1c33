"""The limit of a running download: read anew every second, from the files that the kubelet keeps, and by the clock."""

from __future__ import annotations

import argparse
import asyncio
import logging
import time
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from dataclasses import replace
from pathlib import Path

from modelferry.errors import InvalidSpec
from modelferry.http.transport.throttle import Throttle
from modelferry.resource.bandwidth_limits import Limits
from modelferry.resource.parse.bandwidth_fields import read_limits
from modelferry.resource.spec import Spec
from modelferry.values.rates import parse_rate

_log = logging.getLogger(__name__)

#: The files of a pod's annotations: the live fields of the spec, and bytes per second.
LIMITS_FILE, SHARE_FILE = "limits", "share"
#: Seconds between two looks.
_EVERY = 1.0


def add_bandwidth(parser: argparse.ArgumentParser) -> None:
    """Declare ``--bandwidth``."""
    told = "at most this much per second, such as 40Mbit or 5MB (instead of spec.transfer's bandwidth and windows)"
    parser.add_argument("--bandwidth", metavar="RATE", help=told)


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare ``--bandwidth`` and ``--limits``."""
    add_bandwidth(parser)
    parser.add_argument("--limits", type=Path, metavar="DIR", help="follow the limits in the files of this directory")


def given(bandwidth: str | None, spec: Spec) -> Limits:
    """The limits of the command line, or else the spec's, and those of its mirrors. Raises InvalidSpec."""
    mirrors = tuple((mirror.name, mirror.bandwidth) for mirror in spec.mirrors if mirror.bandwidth is not None)
    if bandwidth is None:
        return replace(spec.transfer.limits, mirrors=mirrors)
    try:
        return Limits(parse_rate(bandwidth), mirrors=mirrors)
    except ValueError as error:
        raise InvalidSpec(f"--bandwidth: {error}") from error


class Limiter:
    """Sets a throttle. `limits` hold until `directory`, if there is one, says otherwise."""

    def __init__(
        self,
        throttle: Throttle,
        limits: Limits,
        directory: Path | None = None,
        *,
        clock: Callable[[], float] = time.time,
    ) -> None:
        """`clock` gives seconds of the epoch."""
        self._throttle, self._limits, self._directory, self._clock = throttle, limits, directory, clock
        self._share: int | None = None

    def look(self) -> None:
        """Read, and set what holds now. What cannot be read changes nothing."""
        if self._directory is not None:
            try:
                self._limits = read_limits((self._directory / LIMITS_FILE).read_text())
                share = (self._directory / SHARE_FILE).read_text().strip()
                self._share = int(share) if share else None
            except (OSError, ValueError, InvalidSpec) as error:
                _log.warning("the limits stay as they are: %s", error)
        now = self._limits.at(self._clock(), self._share)
        if now.rate != self._throttle.limit:
            _log.info("limit: %s", "none" if now.rate is None else now.note if now.rate else f"paused {now.note}")
        self._throttle.set(now.rate, now.note)
        self._throttle.set_mirrors(dict(self._limits.mirrors))

    @asynccontextmanager
    async def watched(self) -> AsyncIterator[None]:
        """Look now, and then every second for as long as this lasts."""
        self.look()
        watching = asyncio.create_task(self._watch())
        try:
            yield
        finally:
            watching.cancel()
            await asyncio.gather(watching, return_exceptions=True)

    async def _watch(self) -> None:
        while True:
            await asyncio.sleep(_EVERY)
            # Two files of a few bytes, in memory: no thread is worth it.
            self.look()
