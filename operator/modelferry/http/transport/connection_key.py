"""What identifies the requests that may share a connection, and how long a server may take."""

from __future__ import annotations

from dataclasses import dataclass, replace

from modelferry.http.routes import Route
from modelferry.http.transport.throttle import Throttle
from modelferry.http.wire import Origin

#: Seconds that a server has at least, whatever is left of a deadline.
_MIN_PATIENCE = 5.0


@dataclass(frozen=True, slots=True)
class Timeouts:
    """How long a server may take, in seconds: to establish a connection (with proxy and TLS), for a response head, and
    without progress. ``floor``: bytes that a stream must receive in ``stall`` seconds; a slower one is closed."""

    connect: float = 15.0
    head: float = 30.0
    stall: float = 30.0
    floor: int = 64 * 1024

    def extended(self, times: float, most: float) -> Timeouts:
        """`times` as long for a response head and without progress, but at most `most` seconds each."""
        most = max(most, _MIN_PATIENCE)
        return replace(self, head=min(times * self.head, most), stall=min(times * self.stall, most))


@dataclass(frozen=True, slots=True)
class ConnectionKey:
    """Requests with equal keys may share a connection: one server, reached by one route, under one limit."""

    origin: Origin
    route: Route
    throttle: Throttle
