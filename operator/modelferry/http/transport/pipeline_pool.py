"""Which connections requests share, and with which servers they may."""

from __future__ import annotations

import asyncio
from functools import partial
from typing import Protocol

from modelferry.http.transport.connection import Connection
from modelferry.http.transport.connection_key import ConnectionKey
from modelferry.http.transport.pipelining import DEPTH, PipelinedConnection, PipeliningPolicy
from modelferry.http.transport.response import ConnectionOwner
from modelferry.http.wire import Head, Origin


class Stock(ConnectionOwner, Protocol):
    """Whose connections they are."""

    async def borrow(self, key: ConnectionKey) -> Connection:
        """A connection to share."""

    def drop(self, connection: Connection) -> None:
        """Close `connection`."""


class PipelinePool:
    """The pipes to each server. ``trust``: in servers that are sent requests behind others."""

    def __init__(self, stock: Stock) -> None:
        self.trust = PipeliningPolicy()
        self._stock = stock
        self._pipes: dict[ConnectionKey, list[PipelinedConnection]] = {}
        self._framed: set[ConnectionKey] = set()

    def see(self, key: ConnectionKey, head: Head) -> None:
        """A server kept a connection behind the answer with `head`, which said where it ended."""
        proxy = key.route.proxies.of(key.origin.url)
        # A proxy that forwards requests has a mind of its own.
        if head.version >= (1, 1) and (proxy is None or not proxy.forwards(key.origin.url)):
            self._framed.add(key)

    def allows(self, key: ConnectionKey) -> bool:
        """May requests to a server share a connection? A limit pays for what each connection may bring beforehand, and
        a presigned URL may be at another server."""
        return key in self._framed and key.route.presigner is None and not key.throttle.limited and self.trust.given

    def count(self, origin: Origin) -> int:
        """Connections to `origin` that requests share."""
        return sum(not pipe.ended for key, pipes in self._pipes.items() if key.origin == origin for pipe in pipes)

    def pipe(self, key: ConnectionKey) -> PipelinedConnection:
        """The one that fewest wait for; a new one where none has room, so that there are no more than necessary."""
        pipes = self._pipes[key] = [pipe for pipe in self._pipes.get(key, ()) if not pipe.ended]
        least = min(pipes, key=lambda pipe: pipe.requests, default=None)
        if least is not None and least.requests < DEPTH:
            return least
        pipes.append(PipelinedConnection(partial(self._stock.borrow, key), self._stock.drop))
        return pipes[-1]

    def lender(self, pipe: PipelinedConnection) -> ConnectionOwner:
        """Whose the connection of `pipe` is for one answer."""
        return _Turn(self, pipe, self._stock)

    def end(self, pipe: PipelinedConnection, *, keep: bool = False) -> None:
        """Nothing more is read from `pipe`; its connection is closed, unless it is to `keep`."""
        self.trust.lost(pipe.end(keep=keep))

    async def close(self) -> None:
        """Open no more connections."""
        opening = [pipe.opening for pipes in self._pipes.values() for pipe in pipes]
        for task in opening:
            task.cancel()
        await asyncio.gather(*opening, return_exceptions=True)


class _Turn:
    """Lends the connection of a pipe to an answer whose turn it is."""

    def __init__(self, pipelines: PipelinePool, pipe: PipelinedConnection, stock: Stock) -> None:
        self._sharing, self._pipe, self._stock = pipelines, pipe, stock

    def followed(self) -> bool:
        return self._pipe.requests > 1

    def window(self, key: ConnectionKey, connection: Connection) -> int:
        return self._stock.window(key, connection)

    def release(self, key: ConnectionKey, connection: Connection, kept: Head | None) -> None:
        if self._pipe.ended:
            return
        if kept is not None and self.followed():
            self._pipe.next()
            return
        self._sharing.end(self._pipe, keep=kept is not None)
        if kept is not None:
            self._stock.release(key, connection, kept)
