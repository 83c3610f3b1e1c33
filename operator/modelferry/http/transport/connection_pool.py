"""The connections of one client: opened, kept while idle, reused, opened ahead, and shared by pipelined requests."""

from __future__ import annotations

import asyncio
import socket
from collections.abc import Callable
from functools import partial
from typing import Any

from modelferry.http.transport.connect_errors import connect_error
from modelferry.http.transport.connection import Connection, buffer_size
from modelferry.http.transport.connection_key import ConnectionKey, Timeouts
from modelferry.http.transport.idle_connections import IdleConnections
from modelferry.http.transport.pipeline_pool import PipelinePool
from modelferry.http.transport.pipelining import PipelinedConnection
from modelferry.http.transport.preconnect import Preconnect
from modelferry.http.transport.sockets import open_socket
from modelferry.http.transport.throttle import ReceiveWindow
from modelferry.http.transport.tls_connection import TLSConnection
from modelferry.http.wire import Head, Origin

#: Connections with buffers for fast network paths, which need no more of them; further ones are for slow paths, which
#: need no large buffers. Together they have twice the memory of either kind alone, at most.
_FAST = 16

#: Called with the origin of each connection that is established, and its round-trip time in seconds.
ConnectObserver = Callable[[Origin, float], None]


class ConnectionPool:
    """Connections to any origin; one that a response leaves reusable is kept for the next request with its key."""

    def __init__(self, timeouts: Timeouts, *, connections: int, max_idle: int | None = None) -> None:
        """`connections`: how many there will be at most, which share the memory for buffers. `max_idle`: how many idle
        ones are kept; None: all."""
        self.timeouts = timeouts
        self.connections: set[Connection] = set()
        self.observers: list[ConnectObserver] = []
        self._buffers = buffer_size(min(connections, _FAST)), buffer_size(connections)
        self._idle = IdleConnections(self.discard, max_idle)
        self._preconnected: Preconnect[ConnectionKey, Connection] = Preconnect(self.connect, self.discard)
        self.pipelines = PipelinePool()

    async def take(self, key: ConnectionKey, *, fresh: bool = False) -> PooledConnection:
        """A connection for one request: an idle one, or one that was opened ahead, unless it is to be `fresh`; else a
        new one. Raises as `connect`."""
        connection = None if fresh else await self._available(key)
        reused = connection is not None
        return PooledConnection(self, key, connection or await self.connect(key), reused=reused)

    def take_idle(self, key: ConnectionKey) -> PooledConnection | None:
        """An idle connection for one request; None where there is none."""
        connection = self._reusable(key)
        return self._reused(key, connection) if connection is not None else None

    async def take_idle_unless(self, key: ConnectionKey, working: asyncio.Task[object]) -> PooledConnection | None:
        """The next connection that a response leaves reusable, for one request; None if `working` ends before."""
        found, taken = self._idle.next(key), False
        futures: list[asyncio.Future[Any]] = [working, found]
        try:
            await asyncio.wait(futures, return_when=asyncio.FIRST_COMPLETED)
            taken = not working.done()
            return self._reused(key, found.result()) if taken else None
        finally:
            if not taken and not found.cancel():
                self._idle.put(key, found.result())

    def _reused(self, key: ConnectionKey, connection: Connection) -> PooledConnection:
        return PooledConnection(self, key, connection, reused=True)

    def pipeline(self, key: ConnectionKey) -> PipelinedConnection:
        """The connection to send a pipelined request on."""
        found = self.pipelines.least_loaded(key)
        return found or self.pipelines.add(key, PipelinedConnection(partial(self._take_or_connect, key), self.discard))

    def preconnect(self, key: ConnectionKey, count: int) -> None:
        """Begin to open `count` connections, for requests that are to follow."""
        self._preconnected.open(key, count)

    async def connect(self, key: ConnectionKey) -> Connection:
        """A new connection. Raises ConnectionFailed, UnknownHost, CertificateRefused, PrivateAddress, and what
        `open_socket` raises for a proxy."""
        clock = asyncio.get_running_loop().time
        began = clock()
        try:
            async with asyncio.timeout(self.timeouts.connect):
                window = key.throttle.receive_window
                connected = await open_socket(
                    key.origin.url,
                    key.route.proxies,
                    self.timeouts.connect,
                    key.route.address_policy,
                    receive_buffer=window.socket_buffer if window else None,
                )
                connection = self._new(key, connected, window)
                self.connections.add(connection)
                established = clock()
                try:
                    await connection.handshake()
                except BaseException:
                    self.discard(connection)
                    raise
        except (OSError, TimeoutError) as error:
            raise connect_error(key, error, self.timeouts.connect) from error
        self._observe(key, established - began, clock() - established)
        return connection

    def keep(self, key: ConnectionKey, connection: Connection, head: Head) -> None:
        """Keep `connection` for the next request, if it is still usable. `head`: of the response before, whose server
        kept the connection open."""
        self.pipelines.observe(key, head)
        if connection not in self.connections or not connection.is_idle():
            self.discard(connection)
            return
        self._idle.put(key, connection)

    def discard(self, connection: Connection) -> None:
        """Close `connection`."""
        self.connections.discard(connection)
        connection.abort()

    async def close(self) -> None:
        """Close every connection."""
        self._idle.close()
        await self._preconnected.close()
        await self.pipelines.close()
        for connection in list(self.connections):
            self.discard(connection)

    async def _available(self, key: ConnectionKey) -> Connection | None:
        return self._reusable(key) or await self._preconnected.take(key)

    async def _take_or_connect(self, key: ConnectionKey) -> Connection:
        return await self._available(key) or await self.connect(key)

    def _reusable(self, key: ConnectionKey) -> Connection | None:
        while (connection := self._idle.take(key)) is not None:
            built, wanted = connection.window, key.throttle.receive_window
            if connection.is_idle() and (built.fits(wanted) if built is not None else wanted is None):
                return connection
            self.discard(connection)
        return None

    def _new(self, key: ConnectionKey, connected: socket.socket, window: ReceiveWindow | None) -> Connection:
        large, small = self._buffers
        size = large if sum(one.size == large for one in self.connections) < _FAST else small
        if window is not None:
            size = min(size, window.buffer)
        if key.origin.scheme == "https":
            context = key.route.trust(key.origin.url)
            connection: Connection = TLSConnection(size, connected, context, key.origin.host)
        else:
            connection = Connection(size, connected)
        connection.window = window
        return connection

    def _observe(self, key: ConnectionKey, connecting: float, handshake: float) -> None:
        """Each is a round trip (TLS 1.3: RFC 8446 section 2); what is more of it is name resolution, or a busy
        processor. Through a proxy only the handshake goes from end to end."""
        direct = key.route.proxies.for_url(key.origin.url) is None
        trips = ([connecting] if direct else []) + ([handshake] if key.origin.scheme == "https" else [])
        for observer in self.observers if trips else ():
            observer(key.origin, min(trips))


class PooledConnection:
    """A connection while one request uses it; then it is released, to be kept or closed."""

    def __init__(self, pool: ConnectionPool, key: ConnectionKey, connection: Connection, *, reused: bool) -> None:
        """`reused`: it was open before the request."""
        self.key = key
        self.connection = connection
        self.reused = reused
        self._pool = pool

    @property
    def followed(self) -> bool:
        """Whether another response is expected on the same connection, behind this one."""
        return False

    def window(self) -> int:
        """Bytes that the kernel may hold unread, from now on no more than the limit allows; 0 where there was no limit
        when it was opened."""
        connection, built, wanted = self.connection, self.connection.window, self.key.throttle.receive_window
        if wanted is not None and (built is None or wanted.size < built.size // 2):
            # It may stay smaller than it could be, since the window scale was negotiated when it was opened.
            connection.limit_receive_buffer(wanted.socket_buffer)
            connection.window = built = wanted
        return built.size if built is not None else 0

    def release(self, head: Head | None) -> None:
        """The response is read. `head`: its head, where the connection may carry another; None: it is closed."""
        if head is not None:
            self._pool.keep(self.key, self.connection, head)
        else:
            self.discard()

    def discard(self) -> None:
        """Close it."""
        self._pool.discard(self.connection)


class PipelineTurn(PooledConnection):
    """A pipelined connection while the response of one request is read from it."""

    def __init__(self, pool: ConnectionPool, key: ConnectionKey, connection: Connection, pipe: PipelinedConnection):
        super().__init__(pool, key, connection, reused=True)
        self._pipe = pipe

    @property
    def followed(self) -> bool:
        return self._pipe.requests > 1

    def release(self, head: Head | None) -> None:
        if self._pipe.ended:
            return
        if head is not None and self.followed:
            self._pipe.next()
            return
        self._pool.pipelines.end(self._pipe, keep=head is not None)
        if head is not None:
            super().release(head)

    def discard(self) -> None:
        self._pool.pipelines.end(self._pipe)
