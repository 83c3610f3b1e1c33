"""Which connections are kept and reused."""

from __future__ import annotations

import socket
import ssl
from collections.abc import Iterator

import pytest

from modelferry.http.routes import Route
from modelferry.http.transport.connection import Connection
from modelferry.http.transport.connection_key import ConnectionKey, Timeouts
from modelferry.http.transport.connection_pool import ConnectionPool
from modelferry.http.transport.throttle import Throttle
from modelferry.http.wire import Head, Origin

OK = Head(200, (1, 1), ())


class Network:
    """Connections over socket pairs, whose far ends stay open."""

    def __init__(self) -> None:
        self.ends: list[socket.socket] = []
        self.route, self.throttle = Route(ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)), Throttle()

    def key(self, port: int = 80) -> ConnectionKey:
        return ConnectionKey(Origin("http", "h", port), self.route, self.throttle)

    def connection(self, pool: ConnectionPool, size: int = 1024) -> Connection:
        near, far = socket.socketpair()
        self.ends += [near, far]
        connection = Connection(size, near)
        pool.connections.add(connection)
        return connection


@pytest.fixture
def network() -> Iterator[Network]:
    network = Network()
    yield network
    for end in network.ends:
        end.close()


async def test_a_kept_connection_serves_the_next_request_with_its_key_the_largest_buffer_first(
    network: Network,
) -> None:
    pool = ConnectionPool(Timeouts(), connections=4)
    small, large, other = network.connection(pool), network.connection(pool, 4096), network.connection(pool)
    pool.keep(network.key(), large, OK)
    pool.keep(network.key(), small, OK)
    pool.keep(network.key(81), other, OK)
    taken = [await pool.take(network.key()), await pool.take(network.key())]
    assert [(one.connection, one.reused) for one in taken] == [(large, True), (small, True)]
    taken[0].release(None)
    assert (large.ended, large in pool.connections) == (True, False)
    await pool.close()
    assert (small.ended, other.ended) == (True, True)


async def test_a_connection_that_received_unrequested_bytes_or_ended_is_not_kept(network: Network) -> None:
    pool = ConnectionPool(Timeouts(), connections=4)
    noisy, closed = network.connection(pool), network.connection(pool)
    network.ends[1].send(b"x")
    network.ends[3].close()
    for connection in (noisy, closed):
        pool.keep(network.key(), connection, OK)
    assert (noisy.ended, closed.ended) == (True, True)
    assert pool.connections == set()


async def test_the_oldest_idle_connection_makes_room_where_their_number_is_limited(network: Network) -> None:
    pool = ConnectionPool(Timeouts(), connections=4, max_idle=2)
    connections = [network.connection(pool) for _ in range(3)]
    for port, connection in enumerate(connections, 80):
        pool.keep(network.key(port), connection, OK)
    assert [connection.ended for connection in connections] == [True, False, False]
    await pool.close()
