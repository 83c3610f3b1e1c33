"""Which connections requests share, and with which servers they may."""

from __future__ import annotations

import asyncio
from functools import partial
from typing import Protocol

from modelferry.engine.transport.answer import Lender
from modelferry.engine.transport.connection import Connection
from modelferry.engine.transport.line import Line
from modelferry.engine.transport.pipe import DEPTH, Pipe, Trust
from modelferry.engine.wire import Head, Origin


class Stock(Lender, Protocol):
    """Whose connections they are."""

    async def borrow(self, line: Line) -> Connection:
        """A connection to share."""

    def drop(self, connection: Connection) -> None:
        """Close `connection`."""


class Sharing:
    """The pipes to each server. ``trust``: in servers that are sent requests behind others."""

    def __init__(self, stock: Stock) -> None:
        self.trust = Trust()
        self._stock = stock
        self._pipes: dict[Line, list[Pipe]] = {}
        self._framed: set[Line] = set()

    def see(self, line: Line, head: Head) -> None:
        """A server kept a connection behind the answer with `head`, which said where it ended."""
        proxy = line.way.proxies.of(line.origin.url)
        # A proxy that forwards requests has a mind of its own.
        if head.version >= (1, 1) and (proxy is None or not proxy.forwards(line.origin.url)):
            self._framed.add(line)

    def allows(self, line: Line) -> bool:
        """May requests to a server share a connection? A limit pays for what each connection may bring beforehand, and
        a presigned URL may be at another server."""
        return line in self._framed and line.way.presigner is None and not line.throttle.limited and self.trust.given

    def count(self, origin: Origin) -> int:
        """Connections to `origin` that requests share."""
        return sum(not pipe.ended for line, pipes in self._pipes.items() if line.origin == origin for pipe in pipes)

    def pipe(self, line: Line) -> Pipe:
        """The one that fewest wait for; a new one where none has room, so that there are no more than necessary."""
        pipes = self._pipes[line] = [pipe for pipe in self._pipes.get(line, ()) if not pipe.ended]
        least = min(pipes, key=lambda pipe: pipe.requests, default=None)
        if least is not None and least.requests < DEPTH:
            return least
        pipes.append(Pipe(partial(self._stock.borrow, line), self._stock.drop))
        return pipes[-1]

    def lender(self, pipe: Pipe) -> Lender:
        """Whose the connection of `pipe` is for one answer."""
        return _Turn(self, pipe, self._stock)

    def end(self, pipe: Pipe, *, keep: bool = False) -> None:
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

    def __init__(self, sharing: Sharing, pipe: Pipe, stock: Stock) -> None:
        self._sharing, self._pipe, self._stock = sharing, pipe, stock

    def followed(self) -> bool:
        return self._pipe.requests > 1

    def window(self, line: Line, connection: Connection) -> int:
        return self._stock.window(line, connection)

    def release(self, line: Line, connection: Connection, kept: Head | None) -> None:
        if self._pipe.ended:
            return
        if kept is not None and self.followed():
            self._pipe.next()
            return
        self._sharing.end(self._pipe, keep=kept is not None)
        if kept is not None:
            self._stock.release(line, connection, kept)
