"""A response as it comes: its head, and its body piece by piece."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator
from contextlib import aclosing, suppress
from typing import Protocol

from modelferry.errors import ConnectionFailed, Stall
from modelferry.http.transport.connection import Connection
from modelferry.http.transport.connection_key import ConnectionKey, Timeouts
from modelferry.http.wire import Body, Head, ProtocolError, keeps_alive
from modelferry.http.wire.framing import framing_of

#: A stream is slow where so many seconds bring less than the floor, or where its head took so long, until it shows
#: better. Bytes of a slow stream are given out by the TLS record: waited for in larger pieces they would look like
#: silence, and a part that was cut short would end late.
_SLOW, _FAR, _RECORD = 0.1, 0.05, 16 << 10
#: Bytes of a page that says why there is no content.
_SHORT = 4096


class ConnectionOwner(Protocol):
    """Whose the connection is."""

    def followed(self) -> bool:
        """Is another answer awaited on the same connection, behind this one?"""

    def release(self, key: ConnectionKey, connection: Connection, kept: Head | None) -> None:
        """Take `connection` back from an Answer that is through with it. `kept`: its head, where it lets the connection
        carry another."""

    def window(self, key: ConnectionKey, connection: Connection) -> int:
        """Bytes that the kernel may take of what comes before they are asked for, under a limit."""


class Response:
    """A response: its head, and its body once."""

    def __init__(
        self,
        lender: ConnectionOwner,
        key: ConnectionKey,
        connection: Connection,
        head: Head,
        first: memoryview,
        limits: Timeouts,
        waited: float,
        acquired: int,
    ) -> None:
        """`waited`: seconds from the request to its head. `acquired`: bytes of its body that the throttle has given."""
        self.head = head
        self.waited = waited
        #: Its request was sent before the answer to another one had come.
        self.behind = False
        self.peer = connection.peer
        self._lender = lender
        self._line = key
        self._connection = connection
        self._first = first
        self._limits = limits
        self._acquired = acquired
        self._slow = waited > _FAR
        #: Of the floor: bytes that came, and seconds that they were waited for.
        self._came, self._spent = 0, 0.0
        self._framing_body: Body | None = None
        #: The framing ended by itself; bytes followed it.
        self.whole = False
        self.surplus = False

    async def body(self, length: int) -> AsyncGenerator[memoryview, None]:
        """The content, piece by piece; each is good until the next is asked for. `length` is what is expected of it.

        It ends where the framing ends, where the peer ends, or soon after more than `length` bytes came: `wire.ended`
        says what that means. Raises Stall, ConnectionFailed and ProtocolError.
        """
        framing = framing_of(self.head)
        body = self._framing_body = Body(framing)
        data, taken = self._first, 0
        while True:
            for content in body.content(data):
                taken += len(content)
                yield content
            self.whole, self.surplus = body.complete, body.surplus and not self._lender.followed()
            if body.surplus and not self.surplus:
                self._connection.unread(body.after)
            if body.complete or taken > length or (taken == length and framing.kind == "close"):
                self.whole = self.whole or framing.kind == "close"
                return
            data = await self._more(body.left if body.left is not None else 1, length)
            if not data:
                self.whole = body.close()
                return

    async def skip(self) -> None:
        """Read over a short body that nobody wants, where the next answer stands behind it."""
        with suppress(ConnectionFailed, ProtocolError, Stall):
            framing = framing_of(self.head)
            if self._lender.followed() and framing.kind == "length" and framing.length <= _SHORT:
                async with aclosing(self.body(framing.length)) as pieces:
                    async for _ in pieces:
                        pass

    def abort(self) -> None:
        """Break the connection: the body ends with what is received already."""
        self._connection.abort()

    def close(self) -> None:
        """Give the connection back, for reuse where body and server allow it."""
        body = self._framing_body
        reusable = (
            body is not None and body.complete and not self.surplus and keeps_alive(self.head, framing_of(self.head))
        )
        self._lender.release(self._line, self._connection, self.head if reusable else None)

    async def _more(self, left: int, length: int) -> memoryview:
        # To wait for `floor` bytes is to enforce the floor rate. A limit makes buffers, and so the floor, smaller; the
        # time that it takes is none of the server's.
        connection = self._connection
        floor = min(max(1, self._limits.floor), connection.size)
        wanted = min(left, floor)
        piece = min(wanted, _RECORD) if self._slow else wanted
        await asyncio.sleep(0)  # on a fast line there is always more: the others have their turn
        connection.allowance = 0 if self._line.throttle.limited else None
        data = connection.ready(wanted)
        while data is None and (data := connection.ready(piece)) is None:
            if connection.allowance == 0:
                await self._acquire(length)
            else:
                await self._wait(piece, wanted)
        self._came += len(data)
        if self._came >= floor:
            self._slow = self._spent > _SLOW
            self._came, self._spent = 0, 0.0
        return data

    async def _wait(self, piece: int, wanted: int) -> None:
        clock = asyncio.get_running_loop().time
        began = clock()
        try:
            async with asyncio.timeout(self._limits.stall - self._spent):
                await self._connection.more(piece)
        except TimeoutError:
            raise Stall(f"brought less than {wanted} bytes in {self._limits.stall:.0f} s") from None
        finally:
            self._spent += clock() - began

    async def _acquire(self, length: int) -> None:
        """Have some more read from the socket, which makes room there for as much: both are paid for, up to the
        `length` of all."""
        throttle, connection = self._line.throttle, self._connection
        window, step = self._lender.window(self._line, connection), throttle.step
        due = min(connection.received + window + step, length)
        self._acquired += await throttle.acquire(due - self._acquired)
        connection.allowance = step if throttle.limited else None
