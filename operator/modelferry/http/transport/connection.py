"""One connection, pulled from: a socket that is read when somebody wants its bytes, into one buffer of its own.

What comes is written to the disk before more is asked for, so one buffer is enough, and while a slow disk is waited
for, the kernel's buffers fill and push back on the peer. Nothing is copied between the socket (or OpenSSL) and the
write to the file, and where the line is fast no task sleeps: bytes that are there already are given at once (`ready`).
"""

from __future__ import annotations

import asyncio
import mmap
import socket
from contextlib import suppress

from modelferry.errors import ConnectionFailed

#: Bytes of all connections' buffers together, of the 48 MB that the process may have: OpenSSL's may grow as large.
_ALL_BUFFERS = 4 * 1024 * 1024
#: Bytes of one buffer: from one TLS record to what makes the calls for it (some 30 us) cost less than 10 % of the time
#: in which it is received, decrypted and written.
_LEAST, _MOST = 16 * 1024, 256 * 1024
#: Bytes that are waited for in the kernel: to wake up for each packet took 4 of 19 CPU seconds for each GB on a line of
#: 180 ms. No more, so that the peer's window stays open.
_GATHERED = 32 * 1024


def buffer_size(connections: int) -> int:
    """Bytes of a connection's buffer, where there are `connections` at once."""
    return min(max(_ALL_BUFFERS // max(1, connections), _LEAST), _MOST)


class Connection:
    """An open TCP connection, whose `dialled` socket it owns from here on. Used by one task at a time."""

    def __init__(self, size: int, dialled: socket.socket) -> None:
        """`size`: bytes of the buffer."""
        self.size = size
        self._loop = asyncio.get_running_loop()
        self._socket = dialled
        dialled.setblocking(False)
        # Its pages take memory when they are written to: a slow line never fills the large ones.
        self._buffer = memoryview(mmap.mmap(-1, size))
        self._filled = 0
        self._given = False
        self._unread = 0
        self._unsent = bytearray()
        self._waiter: asyncio.Future[None] | None = None
        self._failure: BaseException | None = None
        #: The kernel tells of so many bytes (SO_RCVLOWAT), or of the end.
        self._told_at = 1
        #: Bytes that came and are neither in the buffer nor given out, at most.
        self._held = 0
        self.ended = False
        #: The address at the other end; empty where it is a socket of this process.
        self.peer = _peer_of(dialled)
        #: Requests that this connection has carried.
        self.used = 0
        #: Bytes that came from the socket since its last request, TLS and all.
        self.received = 0
        #: How many more may be read from the socket; None: as many as there are.
        self.allowance: int | None = None

    @property
    def quiet(self) -> bool:
        """Still open, and nothing came that nobody asked for (RFC 9112 section 11.2)."""
        self._forget()
        self.allowance = None
        self._pull(1)
        self._held = 0  # what is there is of no answer
        return not self.ended and self._filled == 0

    async def handshake(self) -> None:
        """Nothing to agree on, over plain TCP."""

    def send(self, data: bytes) -> None:
        """Send a request head: small, so there is nothing to wait for."""
        self._begin()
        self._send(data)

    def _begin(self) -> None:
        self.used += 1
        self.received, self.allowance = 0, None

    def ready(self, wanted: int) -> memoryview | None:
        """What `take` gives, without waiting; None where fewer than `wanted` bytes are there and more may come."""
        self._forget()
        wanted = min(wanted, self.size)
        self._pull(wanted)
        if self._filled < wanted and not self.ended:
            return None
        if not self._filled and self._failure is not None:
            raise ConnectionFailed(f"the connection broke: {reason_of(self._failure)}") from self._failure
        self._given = True
        return self._buffer[: self._filled]

    async def take(self, wanted: int) -> memoryview:
        """At least `wanted` bytes (or a whole buffer), or fewer where the peer ended; empty where nothing is left.

        The view is good until the next call. Raises ConnectionFailed where the connection broke and nothing is left.
        """
        while (view := self.ready(wanted)) is None:
            await self.more(wanted)
        return view

    def unread(self, count: int) -> None:
        """The last `count` bytes of what was given out are not used, and are given again."""
        self._unread = count

    async def more(self, wanted: int) -> None:
        """Wait until `ready` gives `wanted` bytes, or all of the allowance is read."""
        await self._readable(min(wanted, self.size))

    def narrow(self, receive: int) -> None:
        """Have the kernel hold at most about twice `receive` bytes; those that it holds already stay."""
        with suppress(OSError):
            self._socket.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, receive)

    def abort(self) -> None:
        """Close at once. What was received already can still be taken."""
        if (number := self._socket.fileno()) >= 0:
            self._loop.remove_reader(number)
            self._loop.remove_writer(number)
            self._socket.close()
        self.ended = True
        self._wake()

    def _forget(self) -> None:
        """What was given out is used up, but for what is to be given again."""
        if self._given:
            rest = self._unread
            if rest:
                self._buffer[:rest] = self._buffer[self._filled - rest : self._filled]
            self._given, self._filled, self._unread = False, rest, 0

    def _pull(self, wanted: int) -> None:
        """Bring what is there into the buffer, at least until `wanted` bytes are in it."""
        while self._filled < wanted and not self.ended:
            count = self._receive(self._buffer[self._filled :])
            if count <= 0:
                return
            self._filled += count

    def _receive(self, into: memoryview) -> int:
        """Bytes that came from the socket; -1 where none are there yet, or none are allowed, 0 where the peer ended."""
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
        self._gather(wanted)
        # By its number: a socket that the loop does not know yet would be asked for all it is, for an error's message.
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
            self._gather(wanted)

    def _gather(self, wanted: int) -> None:
        """Be woken up not before so many bytes are there as are missing to `wanted`. A limit counts what comes."""
        missing = min(wanted - self._filled - self._held, _GATHERED)
        at = missing if missing > 1 and self.allowance is None else 1
        if at != self._told_at:
            self._told_at = at
            with suppress(OSError):  # it is a saving, no more
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
            return len(data)  # Reading tells the end, after what the peer said before it left: a TLS alert, say.
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


def _peer_of(dialled: socket.socket) -> str:
    try:
        name = dialled.getpeername()
    except OSError:
        return ""
    return str(name[0]) if isinstance(name, tuple) else ""
