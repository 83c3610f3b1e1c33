"""TLS to a proxy, out of sight of what runs within it.

The one who asked gets an ordinary socket, one end of a pair; two tasks carry what passes between the other end and the
proxy, under TLS. So a tunnel through an https:// proxy is used like any other connection, TLS within TLS included, by
whatever takes a socket.
"""

from __future__ import annotations

import asyncio
import socket
import ssl
from contextlib import suppress

#: Bytes that are carried at a time: four records.
_PIECE = 64 * 1024

#: Tasks that the event loop alone would not keep alive.
_running: set[asyncio.Task[None]] = set()


async def wrap_tls(outer: socket.socket, context: ssl.SSLContext, host: str) -> socket.socket:
    """A socket whose bytes go through `outer` under TLS with `host`, whom `context` verifies.

    `outer` belongs to it from now on, and is closed when it fails. Raises ssl.SSLError and OSError.
    """
    veil = _TLSRelay(outer, context, host)
    try:
        await veil.handshake()
    except BaseException:
        outer.close()
        raise
    ours, theirs = socket.socketpair()
    ours.setblocking(False)
    theirs.setblocking(False)
    task = asyncio.create_task(veil.carry(ours))
    _running.add(task)
    task.add_done_callback(_running.discard)
    return theirs


class _TLSRelay:
    def __init__(self, outer: socket.socket, context: ssl.SSLContext, host: str) -> None:
        self._outer = outer
        self._incoming, self._outgoing = ssl.MemoryBIO(), ssl.MemoryBIO()
        self._tls = context.wrap_bio(self._incoming, self._outgoing, server_hostname=host)
        self._loop = asyncio.get_running_loop()
        self._sending = asyncio.Lock()

    async def handshake(self) -> None:
        while True:
            try:
                self._tls.do_handshake()
            except ssl.SSLWantReadError:
                await self._flush()
                if not await self._fill():
                    raise ConnectionResetError("closed the connection within the TLS handshake") from None
            except ssl.SSLError:
                with suppress(OSError):
                    await self._flush()  # the alert that tells the proxy why
                raise
            else:
                return await self._flush()

    async def carry(self, inner: socket.socket) -> None:
        """Both ways, until either side ends; then both are closed."""
        routes = {asyncio.create_task(self._out(inner)), asyncio.create_task(self._in(inner))}
        try:
            await asyncio.wait(routes, return_when=asyncio.FIRST_COMPLETED)
        finally:
            for route in routes:
                route.cancel()
            await asyncio.gather(*routes, return_exceptions=True)
            inner.close()
            self._outer.close()

    async def _out(self, inner: socket.socket) -> None:
        while data := await self._loop.sock_recv(inner, _PIECE):
            self._tls.write(data)
            await self._flush()

    async def _in(self, inner: socket.socket) -> None:
        while True:
            try:
                data = self._tls.read(_PIECE)
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
        self._incoming.write(data)
        return bool(data)

    async def _flush(self) -> None:
        async with self._sending:
            if self._outgoing.pending:
                await self._loop.sock_sendall(self._outer, self._outgoing.read())
