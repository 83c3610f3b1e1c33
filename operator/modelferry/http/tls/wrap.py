"""TLS to a proxy, invisible to whatever runs within it.

The caller gets an ordinary socket, one end of a pair; two tasks relay between the other end and the proxy, under TLS.
So a tunnel through an https:// proxy is used like any other connection, with TLS within TLS, by whatever takes a
socket.
"""

from __future__ import annotations

import asyncio
import socket
import ssl
from contextlib import suppress

from modelferry.http.tls.session import TLSSession

#: Bytes that are relayed at a time: four records.
_PIECE = 64 * 1024

#: Tasks that the event loop alone would not keep alive.
_running: set[asyncio.Task[None]] = set()


async def wrap_tls(outer: socket.socket, context: ssl.SSLContext, host: str) -> socket.socket:
    """A socket whose bytes go through `outer` under TLS with `host`, whose certificate `context` verifies.

    Takes over `outer`, and closes it where the handshake fails. Raises ssl.SSLError and OSError.
    """
    relay = _TLSRelay(outer, context, host)
    try:
        await relay.handshake()
    except BaseException:
        outer.close()
        raise
    inner, returned = socket.socketpair()
    inner.setblocking(False)
    returned.setblocking(False)
    task = asyncio.create_task(relay.run(inner))
    _running.add(task)

    def ended(task: asyncio.Task[None]) -> None:  # also if the task is cancelled before its first step
        _running.discard(task)
        inner.close()
        outer.close()

    task.add_done_callback(ended)
    return returned


class _TLSRelay:
    def __init__(self, outer: socket.socket, context: ssl.SSLContext, host: str) -> None:
        self._outer = outer
        self._session = TLSSession(context, host)
        self._loop = asyncio.get_running_loop()
        self._sending = asyncio.Lock()

    async def handshake(self) -> None:
        try:
            while not self._session.handshake():
                await self._flush()
                if not await self._fill():
                    raise ConnectionResetError("closed the connection within the TLS handshake")
        except ssl.SSLError:
            with suppress(OSError):
                await self._flush()  # the alert that tells the proxy why
            raise
        await self._flush()

    async def run(self, inner: socket.socket) -> None:
        """Relay in both directions until either side ends. Leaves the sockets open."""
        directions = {asyncio.create_task(self._encrypt(inner)), asyncio.create_task(self._decrypt(inner))}
        try:
            await asyncio.wait(directions, return_when=asyncio.FIRST_COMPLETED)
        finally:
            for direction in directions:
                direction.cancel()
            await asyncio.gather(*directions, return_exceptions=True)

    async def _encrypt(self, inner: socket.socket) -> None:
        while data := await self._loop.sock_recv(inner, _PIECE):
            self._session.write(data)
            await self._flush()

    async def _decrypt(self, inner: socket.socket) -> None:
        while True:
            try:
                data = self._session.read(_PIECE)
            except ssl.SSLWantReadError:
                await self._flush()
                if not await self._fill():
                    return
            else:
                if not data:
                    return  # close_notify
                await self._loop.sock_sendall(inner, data)

    async def _fill(self) -> bool:
        data = await self._loop.sock_recv(self._outer, _PIECE)
        self._session.feed(data)
        return bool(data)

    async def _flush(self) -> None:
        async with self._sending:
            if data := self._session.outgoing():
                await self._loop.sock_sendall(self._outer, data)
