"""One connection, read on demand: its socket is read when bytes are wanted, into one buffer of its own.

What is received is written to the disk before more is read, so one buffer is enough, and while the disk is slow the
kernel's buffers fill and push back on the peer. Nothing is copied between the socket (or OpenSSL) and the write to the
file, and on a fast network path no task sleeps: bytes that have arrived are returned at once (`ready`).
"""

from __future__ import annotations

import asyncio
import mmap
import socket
from contextlib import suppress

from modelferry.errors import ConnectionFailed
from modelferry.http.transport.throttle import ReceiveWindow

#: Bytes of all connections' buffers together, of the 48 MB that the process may use: OpenSSL's may grow as large.
_ALL_BUFFERS = 4 * 1024 * 1024
#: Bytes of one buffer: from one TLS record to what makes the calls for it (some 30 us) cost less than 10 % of the time
#: in which it is received, decrypted and written.
_MIN_BUFFER, _MAX_BUFFER = 16 * 1024, 256 * 1024
#: Bytes that the kernel collects before it wakes us: to wake up for each packet took 4 of 19 CPU seconds for each GB on
#: a network path of 180 ms. No more, so that the peer's window stays open.
_LOW_WATER = 32 * 1024


def buffer_size(connections: int) -> int:
    """Bytes of a connection's buffer, where there are `connections` at once."""
    return min(max(_ALL_BUFFERS // max(1, connections), _MIN_BUFFER), _MAX_BUFFER)


class Connection:
    """An open TCP connection, which owns its `connected` socket. Used by one task at a time."""

    def __init__(self, size: int, connected: socket.socket) -> None:
        """`size`: bytes of the buffer."""
        self.size = size
        #: Under which limit it was opened; None: under none.
        self.window: ReceiveWindow | None = None
        self._loop = asyncio.get_running_loop()
        self._socket = connected
        connected.setblocking(False)
        # Its pages take memory when they are written to: a slow connection never fills the large ones.
        self._buffer = memoryview(mmap.mmap(-1, size))
        self._filled = 0
        #: The bytes in the buffer were returned; all but the last `_unread` of them are used up.
        self._returned = False
        self._unread = 0
        self._unsent = bytearray()
        self._waiter: asyncio.Future[None] | None = None
        self._failure: BaseException | None = None
        #: Bytes for which the kernel wakes us (SO_RCVLOWAT); it also does at the end.
        self._low_water = 1
        #: Bytes that were received and are neither in the buffer nor returned, at most.
        self._held = 0
        self.ended = False
        #: The address at the other end; empty where it is a socket of this process.
        self.peer = _peer_of(connected)
        #: Bytes that were read from the socket since its last request, with TLS's own.
        self.received = 0
        #: How many more may be read from the socket; None: as many as there are.
        self.allowance: int | None = None

    def is_idle(self) -> bool:
        """Whether it is still open and received nothing that was not requested (RFC 9112 section 11.2)."""
        self._free_returned()
        self.allowance = None
        self._pull(1)
        self._held = 0  # what is there belongs to no response
        return not self.ended and self._filled == 0

    async def handshake(self) -> None:
        """Nothing to negotiate, over plain TCP."""

    def send(self, data: bytes) -> None:
        """Send a request: small, so there is nothing to wait for."""
        self._begin()
        self._send(data)

    def _begin(self) -> None:
        self.received, self.allowance = 0, None

    def ready(self, wanted: int) -> memoryview | None:
        """What `take` returns, without waiting; None where fewer than `wanted` bytes are there and more may arrive."""
        self._free_returned()
        wanted = min(wanted, self.size)
        self._pull(wanted)
        if self._filled < wanted and not self.ended:
            return None
        if not self._filled and self._failure is not None:
            raise ConnectionFailed(f"the connection broke: {reason_of(self._failure)}") from self._failure
        self._returned = True
        return self._buffer[: self._filled]

    async def take(self, wanted: int) -> memoryview:
        """At least `wanted` bytes (or a full buffer), or fewer where the peer ended; empty where nothing is left.

        The view is good until the next call. Raises ConnectionFailed where the connection broke and nothing is left.
        """
        while (view := self.ready(wanted)) is None:
            await self.more(wanted)
        return view

    def unread(self, count: int) -> None:
        """The last `count` bytes of what was returned were not used, and are returned again."""
        self._unread = count

    async def more(self, wanted: int) -> None:
        """Wait until `ready` returns `wanted` bytes, or all of the allowance is read."""
        await self._readable(min(wanted, self.size))

    def limit_receive_buffer(self, size: int) -> None:
        """Have the kernel hold at most about twice `size` bytes; those that it holds already stay."""
        with suppress(OSError):
            self._socket.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, size)

    def abort(self) -> None:
        """Close at once. What was received already can still be taken."""
        if (number := self._socket.fileno()) >= 0:
            self._loop.remove_reader(number)
            self._loop.remove_writer(number)
            self._socket.close()
        self.ended = True
        self._wake()

    def _free_returned(self) -> None:
        """What was returned is used up, except for what is to be returned again."""
        if self._returned:
            rest = self._unread
            if rest:
                self._buffer[:rest] = self._buffer[self._filled - rest : self._filled]
            self._returned, self._filled, self._unread = False, rest, 0

    def _pull(self, wanted: int) -> None:
        """Read what has arrived into the buffer, at least until `wanted` bytes are in it."""
        while self._filled < wanted and not self.ended:
            count = self._receive(self._buffer[self._filled :])
            if count <= 0:
                return
            self._filled += count

    def _receive(self, into: memoryview) -> int:
        """How many bytes were read from the socket; -1 where none are there yet, or none are allowed, 0 where the peer
        ended."""
        if self.allowance is not None:
            if not self.allowance:
                return -1
            into = into[: self.allowance]
        try:
            count = self._socket.recv_into(into)
        except (BlockingIOError, InterruptedError):
            return -1
        except OSError as error:
            self._fail(error)
            return 0
        if count == 0:
            self.ended = True
        self.received += count
        if self.allowance is not None:
            self.allowance -= count
        return count

    async def _readable(self, wanted: int) -> None:
        """Wait until `wanted` bytes are in the buffer, or the connection ends."""
        if self.ended:
            return
        self._waiter = self._loop.create_future()
        self._set_low_water(wanted)
        # By its number: for a socket that the loop does not know yet, asyncio would format an error message first.
        number = self._socket.fileno()
        self._loop.add_reader(number, self._on_readable, wanted)
        try:
            await self._waiter
        finally:
            self._waiter = None
            if self._socket.fileno() >= 0:
                self._loop.remove_reader(number)

    def _on_readable(self, wanted: int) -> None:
        self._pull(wanted)
        if self._filled >= wanted or self.ended or self.allowance == 0:
            self._wake()
        else:
            self._set_low_water(wanted)

    def _set_low_water(self, wanted: int) -> None:
        """Have the kernel wake us when the bytes that are missing to `wanted` are there. Not under a limit, which
        counts each byte that arrives."""
        missing = min(wanted - self._filled - self._held, _LOW_WATER)
        at = missing if missing > 1 and self.allowance is None else 1
        if at != self._low_water:
            self._low_water = at
            with suppress(OSError):  # it only saves time
                self._socket.setsockopt(socket.SOL_SOCKET, socket.SO_RCVLOWAT, at)

    def _send(self, data: bytes) -> None:
        if not self._unsent:
            data = data[self._write(data) :]
        if data:
            self._unsent += data
            self._loop.add_writer(self._socket.fileno(), self._on_writable)

    def _write(self, data: bytes) -> int:
        """How many bytes the socket took; all, where it is broken and takes none any more."""
        try:
            return self._socket.send(data)
        except (BlockingIOError, InterruptedError):
            return 0
        except (BrokenPipeError, ConnectionResetError):
            return len(data)  # Reading reports the end, after what the peer sent before: a TLS alert, for example.
        except OSError as error:
            self._fail(error)
            return len(data)

    def _on_writable(self) -> None:
        self._loop.remove_writer(self._socket.fileno())
        data = bytes(self._unsent)
        self._unsent.clear()
        self._send(data)

    def _fail(self, error: BaseException) -> None:
        self._failure = self._failure or error
        self.abort()

    def _wake(self) -> None:
        if self._waiter is not None and not self._waiter.done():
            self._waiter.set_result(None)


def reason_of(error: BaseException) -> str:
    """An OS error's own words, which are stable, without its address tuple, which is not."""
    strerror = getattr(error, "strerror", None)
    return str(strerror or error or type(error).__name__)


def _peer_of(connected: socket.socket) -> str:
    try:
        name = connected.getpeername()
    except OSError:
        return ""
    return str(name[0]) if isinstance(name, tuple) else ""
