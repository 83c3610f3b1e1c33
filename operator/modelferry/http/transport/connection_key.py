"""What a connection is good for, and how long a server may take."""

from __future__ import annotations

from dataclasses import dataclass

from modelferry.http.routes import Route
from modelferry.http.transport.throttle import Throttle
from modelferry.http.wire import Origin


@dataclass(frozen=True, slots=True)
class Timeouts:
    """How long a server may take, in seconds. ``floor`` is the least number of bytes that ``stall`` seconds must bring
    to a stream; a slower one is aborted."""

    connect: float = 15.0
    head: float = 30.0
    stall: float = 30.0
    floor: int = 64 * 1024


@dataclass(frozen=True, slots=True)
class ConnectionKey:
    """What a connection is good for: one server, reached in one way, under one limit."""

    origin: Origin
    route: Route
    throttle: Throttle
