"""A listening socket that leaves no connection open when it ends."""

from __future__ import annotations

import asyncio
import contextlib
import socket
import ssl
from collections.abc import Awaitable, Callable
from functools import partial
from typing import Self

Handler = Callable[[asyncio.StreamReader, asyncio.StreamWriter], Awaitable[None]]


class Listener:
    """Runs `handle` for each connection, with or without TLS. An asynchronous context manager.

    It knows a connection from ``accept`` on. asyncio.start_server knows it from the handler's first step on; a server
    that is closed during a TLS handshake leaves the connection to the garbage collector and its ResourceWarning.
    """

    def __init__(
        self, handle: Handler, host: str = "127.0.0.1", port: int = 0, *, tls: ssl.SSLContext | None = None
    ) -> None:
        self._handle = handle
        self._address = (host, port)
        self._tls = tls
        self._connections: set[asyncio.Task[None]] = set()
        self._socket: socket.socket | None = None

    async def __aenter__(self) -> Self:
        self._socket = socket.create_server(self._address)
        self._socket.setblocking(False)
        asyncio.get_running_loop().add_reader(self._socket, self._accept, self._socket)
        return self

    async def __aexit__(self, *_: object) -> None:
        if self._socket is not None:  # a test may end it before its block does
            asyncio.get_running_loop().remove_reader(self._socket)
            self._socket.close()
            self._socket = None
        for connection in self._connections:
            connection.cancel()
        await asyncio.gather(*self._connections, return_exceptions=True)

    @property
    def port(self) -> int:
        """The port that it listens on."""
        assert self._socket is not None
        return int(self._socket.getsockname()[1])

    def _accept(self, listening: socket.socket) -> None:
        try:
            accepted, _ = listening.accept()
        except (BlockingIOError, ConnectionAbortedError):
            return
        accepted.setblocking(False)
        connection = asyncio.create_task(self._serve(accepted))
        self._connections.add(connection)
        connection.add_done_callback(partial(self._ended, accepted))

    async def _serve(self, accepted: socket.socket) -> None:
        loop = asyncio.get_running_loop()
        reader = asyncio.StreamReader(limit=1 << 16)
        protocol = asyncio.StreamReaderProtocol(reader)
        with contextlib.suppress(OSError, asyncio.IncompleteReadError, asyncio.LimitOverrunError):
            transport, _ = await loop.connect_accepted_socket(lambda: protocol, accepted, ssl=self._tls)
            writer = asyncio.StreamWriter(transport, protocol, reader, loop)
            try:
                await self._handle(reader, writer)
                writer.close()
                await writer.wait_closed()
            finally:
                writer.transport.abort()

    def _ended(self, accepted: socket.socket, connection: asyncio.Task[None]) -> None:
        """Also of a connection that was cancelled before its first step."""
        self._connections.discard(connection)
        accepted.close()
        if not connection.cancelled() and (error := connection.exception()):
            asyncio.get_running_loop().call_exception_handler({"message": "connection handler", "exception": error})
