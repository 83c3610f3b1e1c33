"""What identifies the requests that may share a connection, and how long a server may take."""

from __future__ import annotations

from dataclasses import dataclass

from modelferry.http.routes import Route
from modelferry.http.transport.throttle import Throttle
from modelferry.http.wire import Origin


@dataclass(frozen=True, slots=True)
class Timeouts:
    """How long a server may take, in seconds: to establish a connection (with proxy and TLS), for a response head, and
    without progress. ``floor``: bytes that a stream must receive in ``stall`` seconds; a slower one is closed."""

    connect: float = 15.0
    head: float = 30.0
    stall: float = 30.0
    floor: int = 64 * 1024


@dataclass(frozen=True, slots=True)
class ConnectionKey:
    """Requests with equal keys may share a connection: one server, reached by one route, under one limit."""

    origin: Origin
    route: Route
    throttle: Throttle
