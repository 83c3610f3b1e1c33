"""Connections that wait for their next request: kept for some seconds, or given to a request that gets no response.

A server may have few workers, each of which serves one connection until that is closed. A connection that is kept idle
then holds a worker, and requests on other connections wait, those of other clients too.
"""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Callable

from modelferry.http.transport.connection import Connection
from modelferry.http.transport.connection_key import ConnectionKey

#: Seconds that a connection is kept without a request.
IDLE_TIMEOUT = 5.0


class IdleConnections:
    """By key, those that were used last at the end."""

    def __init__(self, discard: Callable[[Connection], None], most: int | None = None) -> None:
        """`discard` closes a connection. `most`: how many are kept; None: all."""
        self._discard = discard
        self._most = most
        self._kept: dict[ConnectionKey, list[Connection]] = {}
        self._timers: dict[Connection, asyncio.TimerHandle] = {}
        self._waiting: dict[ConnectionKey, deque[asyncio.Future[Connection]]] = {}

    def put(self, key: ConnectionKey, connection: Connection) -> None:
        """Give `connection`, which is usable, to the first that waits for one, or keep it."""
        waiting = self._waiting.get(key, ())
        while waiting:
            if not (first := waiting.popleft()).done():
                first.set_result(connection)
                return
        if self._most is not None and len(self._timers) >= self._most:
            self._drop_first()
        self._kept.setdefault(key, []).append(connection)
        later = asyncio.get_running_loop().call_later
        self._timers[connection] = later(IDLE_TIMEOUT, self._expire, key, connection)

    def take(self, key: ConnectionKey) -> Connection | None:
        """The one with the largest buffer; None where there is none. It may have been closed by the server."""
        kept = self._kept.get(key)
        if not kept:
            return None
        connection = max(reversed(kept), key=lambda one: one.size)
        self._forget(key, connection)
        return connection

    def next(self, key: ConnectionKey) -> asyncio.Future[Connection]:
        """The next one that is put. Cancel the future if it is not needed; what it has then is to be put again."""
        future: asyncio.Future[Connection] = asyncio.get_running_loop().create_future()
        self._waiting.setdefault(key, deque()).append(future)
        return future

    def close(self) -> None:
        """Keep none. Whoever opened them closes them."""
        for timer in self._timers.values():
            timer.cancel()
        self._timers.clear()
        self._kept.clear()

    def _forget(self, key: ConnectionKey, connection: Connection) -> None:
        self._kept[key].remove(connection)
        self._timers.pop(connection).cancel()

    def _drop_first(self) -> None:
        key, connection = next((key, kept[0]) for key, kept in self._kept.items() if kept)
        self._forget(key, connection)
        self._discard(connection)

    def _expire(self, key: ConnectionKey, connection: Connection) -> None:
        self._forget(key, connection)
        self._discard(connection)
