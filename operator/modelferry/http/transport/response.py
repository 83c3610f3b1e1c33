"""A response while it arrives: its head, and its body piece by piece."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator
from contextlib import aclosing, suppress

from modelferry.errors import ConnectionFailed, Stall
from modelferry.http.transport.connection_key import Timeouts
from modelferry.http.transport.connection_pool import PooledConnection
from modelferry.http.wire import Body, Framing, Head, ProtocolError, keeps_alive
from modelferry.http.wire.framing import framing_of

#: A stream is slow where so many seconds bring less than the floor, or where its head took so long, until it proves
#: faster. Bytes of a slow stream are returned by the TLS record: waited for in larger pieces they would look like a
#: stall, and a part that was cut short would end late.
_SLOW, _FAR, _RECORD = 0.1, 0.05, 16 << 10
#: Bytes of a page that says why there is no content.
_SHORT = 4096


class Response:
    """A response: its head, and its body once."""

    def __init__(
        self,
        pooled: PooledConnection,
        head: Head,
        first: memoryview,
        timeouts: Timeouts,
        *,
        waited: float,
        acquired: int,
        bodiless: bool = False,
        pipelined: bool = False,
    ) -> None:
        """`first`: bytes of the body that arrived with the head. `waited`: seconds from the request to the head.
        `acquired`: bytes of its body that the throttle has given. `bodiless`: it answers HEAD. `pipelined`: its request
        was sent before another one's response had arrived."""
        self.head = head
        self.waited = waited
        self.pipelined = pipelined
        self.peer = pooled.connection.peer
        self._pooled = pooled
        self._connection = pooled.connection
        self._throttle = pooled.key.throttle
        self._first = first
        self._timeouts = timeouts
        self._acquired = acquired
        self._bodiless = bodiless
        self._slow = waited > _FAR
        #: Of the floor: bytes that arrived, and seconds that they were waited for.
        self._received, self._spent = 0, 0.0
        self._body: Body | None = None
        self._content: bytes | None = None
        #: The framing ended by itself; bytes followed it.
        self.complete = False
        self.surplus = False

    @property
    def framing(self) -> Framing:
        """How the body ends. Raises ProtocolError."""
        return Framing("length", 0) if self._bodiless else framing_of(self.head)

    async def body(self, length: int) -> AsyncGenerator[memoryview, None]:
        """The content, piece by piece; each is valid until the next is requested. `length`: bytes that are expected.

        It ends where the framing ends, where the peer ends, or soon after more than `length` bytes arrived; `complete`
        and `surplus` say which. A connection that breaks when all bytes have arrived, before the last chunk of the
        chunked coding, is such an end as well. Raises Stall, ConnectionFailed and ProtocolError.
        """
        framing = self.framing
        body = self._body = Body(framing)
        data, taken = self._first, 0
        while True:
            for content in body.content(data):
                taken += len(content)
                yield content
            self.complete, self.surplus = body.complete, body.surplus and not self._pooled.followed
            if body.surplus and not self.surplus:
                self._connection.unread(body.after)
            if body.complete or taken > length or (taken == length and framing.kind == "close"):
                self.complete = self.complete or framing.kind == "close"
                return
            try:
                data = await self._more(body.left if body.left is not None else 1, length)
            except (ConnectionFailed, Stall):
                if taken < length:
                    raise
                return
            if not data:
                self.complete = body.close()
                return

    async def read(self, limit: int) -> bytes:
        """The content of a small response, up to `limit` bytes and at most one more, which says that there are more.
        May be called again. Raises as `body`, and ConnectionFailed where the body is cut off."""
        if self._content is None:
            content = bytearray()
            async with aclosing(self.body(limit)) as pieces:
                async for piece in pieces:
                    content += piece
            if not self.complete and len(content) <= limit:
                raise ConnectionFailed(f"closed the connection after {len(content)} bytes of the response")
            self._content = bytes(content)
        return self._content[: limit + 1]

    async def skip(self) -> None:
        """Read a short body that is not needed, where another response follows on the connection."""
        with suppress(ConnectionFailed, ProtocolError, Stall):
            framing = self.framing
            if self._pooled.followed and framing.kind == "length" and framing.length <= _SHORT:
                async with aclosing(self.body(framing.length)) as pieces:
                    async for _ in pieces:
                        pass

    def abort(self) -> None:
        """Break the connection: the body ends with what is received already."""
        self._connection.abort()

    def close(self) -> None:
        """Release the connection, for reuse where body and server allow it."""
        body = self._body
        reusable = body is not None and body.complete and not self.surplus and keeps_alive(self.head, self.framing)
        self._pooled.release(self.head if reusable else None)

    async def _more(self, left: int, length: int) -> memoryview:
        # To wait for `floor` bytes is to enforce the floor rate. A limit makes buffers, and so the floor, smaller; the
        # time that it takes does not count against the server.
        connection = self._connection
        floor = min(max(1, self._timeouts.floor), connection.size)
        wanted = min(left, floor)
        piece = min(wanted, _RECORD) if self._slow else wanted
        await asyncio.sleep(0)  # on a fast network path there is always more: let the other streams run
        connection.allowance = 0 if self._throttle.limited else None
        data = connection.ready(wanted)
        while data is None and (data := connection.ready(piece)) is None:
            if connection.allowance == 0:
                await self._acquire(length)
            else:
                await self._wait(piece, wanted)
        self._received += len(data)
        if self._received >= floor:
            self._slow = self._spent > _SLOW
            self._received, self._spent = 0, 0.0
        return data

    async def _wait(self, piece: int, wanted: int) -> None:
        clock = asyncio.get_running_loop().time
        began = clock()
        try:
            async with asyncio.timeout(self._timeouts.stall - self._spent):
                await self._connection.more(piece)
        except TimeoutError:
            raise Stall(f"sent less than {wanted} bytes in {self._timeouts.stall:.0f} s") from None
        finally:
            self._spent += clock() - began

    async def _acquire(self, length: int) -> None:
        """Acquire some more bytes to read from the socket, and as many that may then arrive, up to the `length` of
        all."""
        throttle, connection = self._throttle, self._connection
        window, size = self._pooled.window(), throttle.read_size
        due = min(connection.received + window + size, length)
        self._acquired += await throttle.acquire(due - self._acquired)
        connection.allowance = size if throttle.limited else None
