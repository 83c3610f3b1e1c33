"""How long a connection is kept, and who gets it."""

from __future__ import annotations

import asyncio
import ssl
from dataclasses import dataclass, field
from typing import cast

import pytest

from modelferry.http.routes import Route
from modelferry.http.transport.connection import Connection
from modelferry.http.transport.connection_key import ConnectionKey
from modelferry.http.transport.idle_connections import IDLE_TIMEOUT, IdleConnections
from modelferry.http.transport.throttle import Throttle
from modelferry.http.wire import Origin

pytestmark = pytest.mark.looptime

KEY = ConnectionKey(Origin.of("https://a/"), Route(ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)), Throttle(1))


@dataclass(frozen=True)
class Stub:
    """A connection, by its number."""

    number: int
    size: int = 1


@dataclass
class Idle:
    """Idle connections, and those that were closed."""

    most: int | None = None
    closed: list[int] = field(default_factory=list)

    def __post_init__(self) -> None:
        self.connections = IdleConnections(lambda one: self.closed.append(number(one)), self.most)

    def put(self, number: int, size: int = 1) -> None:
        self.connections.put(KEY, cast(Connection, Stub(number, size)))

    def take(self) -> int | None:
        found = self.connections.take(KEY)
        return None if found is None else number(found)


def number(connection: Connection) -> int:
    return cast(Stub, connection).number


async def test_the_last_one_is_taken_first_or_one_with_a_larger_buffer() -> None:
    idle = Idle()
    for one, size in ((1, 1), (2, 2), (3, 1), (4, 1)):
        idle.put(one, size)
    assert [idle.take() for _ in range(5)] == [2, 4, 3, 1, None]


async def test_one_that_gets_no_request_for_some_seconds_is_closed() -> None:
    idle = Idle()
    idle.put(1)
    await asyncio.sleep(IDLE_TIMEOUT / 2)
    idle.put(2)
    await asyncio.sleep(IDLE_TIMEOUT / 2 + 0.1)
    assert (idle.closed, idle.take(), idle.take()) == ([1], 2, None)
    await asyncio.sleep(IDLE_TIMEOUT)
    assert idle.closed == [1], "one that was taken is not closed"


async def test_of_more_than_are_kept_the_first_is_closed() -> None:
    idle = Idle(most=2)
    for one in (1, 2, 3):
        idle.put(one)
    assert (idle.closed, idle.take()) == ([1], 3)


async def test_one_that_is_waited_for_is_given_to_the_first_that_still_waits() -> None:
    idle = Idle()
    gone, first, second = (idle.connections.next(KEY) for _ in range(3))
    gone.cancel()
    idle.put(1)
    assert (number(await first), second.done(), idle.take()) == (1, False, None)
