"""Applies the bandwidth limits to a running download: reads them every second from the files that the kubelet updates,
and follows the windows by the clock."""

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

#: The files of a pod's annotations: the live fields of the spec, and the share of the cluster's bandwidth in bytes per
#: second.
LIMITS_FILE, SHARE_FILE = "limits", "share"
#: Seconds between two updates.
_INTERVAL = 1.0


def add_bandwidth_argument(parser: argparse.ArgumentParser) -> None:
    """Declare ``--bandwidth``."""
    help_ = "limit per second, such as 40Mbit or 5MB (instead of spec.transfer's bandwidth and windows)"
    parser.add_argument("--bandwidth", metavar="RATE", help=help_)


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare ``--bandwidth`` and ``--limits``."""
    add_bandwidth_argument(parser)
    parser.add_argument("--limits", type=Path, metavar="DIR", help="follow the limits in the files of this directory")


def configured_limits(bandwidth: str | None, spec: Spec) -> Limits:
    """The limit on the command line or else in the spec, and the limits of the spec's mirrors. Raises InvalidSpec."""
    mirrors = tuple((mirror.name, mirror.bandwidth) for mirror in spec.mirrors if mirror.bandwidth is not None)
    if bandwidth is None:
        return replace(spec.transfer.limits, mirrors=mirrors)
    try:
        return Limits(parse_rate(bandwidth), mirrors=mirrors)
    except ValueError as error:
        raise InvalidSpec(f"--bandwidth: {error}") from error


class BandwidthLimiter:
    """Sets a throttle to `limits`, or to those in the files of `directory`, if there is one."""

    def __init__(
        self,
        throttle: Throttle,
        limits: Limits,
        directory: Path | None = None,
        *,
        clock: Callable[[], float] = time.time,
    ) -> None:
        """`clock` returns seconds since the epoch."""
        self._throttle, self._limits, self._directory, self._clock = throttle, limits, directory, clock
        self._share: int | None = None

    def update(self) -> None:
        """Read the files and set the throttle. Files that cannot be read change nothing."""
        if self._directory is not None:
            try:
                self._limits = read_limits((self._directory / LIMITS_FILE).read_text())
                share = (self._directory / SHARE_FILE).read_text().strip()
                self._share = int(share) if share else None
            except (OSError, ValueError, InvalidSpec) as error:
                _log.warning("the limits stay unchanged: %s", error)
        now = self._limits.at(self._clock(), self._share)
        if now.rate != self._throttle.limit:
            _log.info("limit: %s", "none" if now.rate is None else now.note if now.rate else f"paused {now.note}")
        self._throttle.set(now.rate, now.note)
        self._throttle.set_mirrors(dict(self._limits.mirrors))

    @asynccontextmanager
    async def running(self) -> AsyncIterator[None]:
        """Update at once, and then every second until the context ends."""
        self.update()
        updates = asyncio.create_task(self._update_periodically())
        try:
            yield
        finally:
            updates.cancel()
            await asyncio.gather(updates, return_exceptions=True)

    async def _update_periodically(self) -> None:
        while True:
            await asyncio.sleep(_INTERVAL)
            # Two files of a few bytes, in memory: not worth a thread.
            self.update()
