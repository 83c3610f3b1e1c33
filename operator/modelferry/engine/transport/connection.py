"""One connection that receives into its own two buffers: while one is written to the disk, the other is filled.

Memory is bounded by that: two buffers a connection, and reading pauses when one is full and the other not yet given
back. Nothing is copied between the socket (or OpenSSL) and the write to the file.
"""

from __future__ import annotations

import asyncio

from modelferry.errors import ConnectionFailed

#: Bytes of all connections' buffers together, of the 48 MB that the process may have.
_ALL_BUFFERS = 4 * 1024 * 1024
#: Bytes of one buffer: from one TLS record to what makes the hand-over to a writer thread (60 us) cost less than 5 % of
#: the time in which a fast line fills it.
_LEAST, _MOST = 16 * 1024, 128 * 1024


def buffer_size(connections: int) -> int:
    """Bytes of each of a connection's two buffers, where there are `connections` at once."""
    return min(max(_ALL_BUFFERS // (2 * max(1, connections)), _LEAST), _MOST)


class Connection(asyncio.BufferedProtocol):
    """Pulled from with `take`; pushes back on the peer by itself."""

    def __init__(self, size: int) -> None:
        """`size`: bytes of each of the two buffers."""
        self.size = size
        self._buffers = (memoryview(bytearray(size)), memoryview(bytearray(size)))
        self._filling = 0
        self._filled = 0
        self._wanted = 0
        self._waiter: asyncio.Future[None] | None = None
        self._transport: asyncio.Transport | None = None
        self._paused = False
        self._failure: BaseException | None = None
        self.ended = False
        self.closed = asyncio.get_running_loop().create_future()
        #: Requests that this connection has carried.
        self.used = 0

    @property
    def peer(self) -> str:
        """The address at the other end; empty where a socket of our own stands between."""
        assert self._transport is not None
        return str((self._transport.get_extra_info("peername") or ("",))[0])

    @property
    def quiet(self) -> bool:
        """Still open, and nothing came that nobody asked for (RFC 9112 section 11.2)."""
        return not self.ended and self._filled == 0

    async def handshake(self) -> None:
        """Nothing to agree on, over plain TCP."""

    def send(self, data: bytes) -> None:
        """Send a request head: small, so there is nothing to wait for."""
        assert self._transport is not None
        self.used += 1
        self._transport.write(data)

    async def take(self, wanted: int) -> memoryview:
        """At least `wanted` bytes (or a whole buffer), or fewer where the peer ended; empty where nothing is left.

        The view is good until the next call. Raises ConnectionFailed where the connection broke and nothing is left.
        """
        self._wanted = min(wanted, self.size)
        while self._filled < self._wanted and not self.ended:
            self._waiter = asyncio.get_running_loop().create_future()
            await self._waiter
        view = self._buffers[self._filling][: self._filled]
        if not view and self._failure is not None:
            raise ConnectionFailed(f"the connection broke: {reason_of(self._failure)}") from self._failure
        self._filling ^= 1
        self._filled = 0
        self._make_room()
        return view

    def abort(self) -> None:
        """Close at once; what was received is dropped."""
        if self._transport is not None:
            self._transport.abort()

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        assert isinstance(transport, asyncio.Transport)
        self._transport = transport

    def get_buffer(self, sizehint: int) -> memoryview:
        return self._free()

    def buffer_updated(self, nbytes: int) -> None:
        self._add(nbytes)

    def eof_received(self) -> None:
        self._end()

    def connection_lost(self, exc: Exception | None) -> None:
        self._failure = self._failure or exc
        self._end()
        if not self.closed.done():
            self.closed.set_result(None)

    def _free(self) -> memoryview:
        return self._buffers[self._filling][self._filled :]

    def _add(self, count: int) -> None:
        self._filled += count
        if self._filled == self.size and self._transport is not None:
            self._paused = True
            self._transport.pause_reading()
        if self._filled >= self._wanted:
            self._wake()

    def _make_room(self) -> None:
        """A buffer was given out, and another is empty."""
        if self._paused and self._transport is not None:
            self._paused = False
            self._transport.resume_reading()

    def _end(self) -> None:
        self.ended = True
        self._wake()

    def _wake(self) -> None:
        if self._waiter is not None and not self._waiter.done():
            self._waiter.set_result(None)


def reason_of(error: BaseException) -> str:
    """An OS error's own words, which are stable, without its address tuple, which is not."""
    strerror = getattr(error, "strerror", None)
    return str(strerror or error or type(error).__name__)
