"""A network in memory: the real dialer and connections over wires that answer by the hostile origin's rules."""

from __future__ import annotations

import asyncio
import hashlib
import socket
import ssl
from collections.abc import Callable, Mapping
from typing import cast

from modelferry.engine.transport.connection import Connection
from modelferry.engine.transport.dialer import Dialer, Limits, Line
from modelferry.net.ways import Way, Ways
from origin.rules import Asked, Reply, Rule, Served, reply_to
from origin.server import parse

#: What a connection attempt may meet with, in the stead of an answer.
REFUSED = "connection refused"

#: Nothing here shakes hands.
_UNUSED = Ways(Way(ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)))


class ScriptedNetwork(Dialer):
    """Answers request number n (from 0) by ``script[n]``, and honestly where it has nothing for it."""

    def __init__(self, contents: Mapping[str, bytes], script: Mapping[int, Rule] = {}, *, digest: bool = False) -> None:
        super().__init__(_UNUSED, Limits(connect=5.0, head=5.0, stall=5.0, floor=1), connections=64)
        self.asked: list[Asked] = []
        self._contents = contents
        self._script = script
        self._digest = digest

    async def _connect(self, line: Line) -> Connection:
        await asyncio.sleep(0.01)
        connection = _Connection(_Wire(self))
        self._open.add(connection)
        return connection

    def answer(self, head: bytes) -> Reply:
        """The reply to a request."""
        asked = parse(head)
        rule = self._script.get(len(self.asked))
        self.asked.append(asked)
        content = self._contents.get(asked.path.lstrip("/"))
        served = None
        if content is not None:
            etag = f'"{hashlib.md5(content, usedforsecurity=False).hexdigest()}"'
            served = Served(len(content), etag, "", lambda start, end: content[start:end])
        return reply_to(asked, served, [rule] if rule else [], digest=self._digest, rate=None)

    def content(self, reply: Reply) -> bytes:
        """The bytes of its body, before the framing."""
        path = self.asked[-1].path.lstrip("/")
        body = bytearray(self._contents.get(path, b"")[reply.start : reply.end])
        for flip in reply.flips:
            body[flip - reply.start] ^= 0xFF
        return bytes(body) + bytes(reply.extra)


class _Wire:
    """One connection's far end, in the place of its socket. What it sends comes in pieces of 10 KiB, each in a turn of
    its own."""

    def __init__(self, network: ScriptedNetwork) -> None:
        self._network = network
        self._coming = bytearray()
        self._ending = ""
        self._arrived = 0
        self._closed = False
        self._loop = asyncio.get_running_loop()
        #: Called when something came.
        self.tell: Callable[[], None] | None = None

    def setblocking(self, flag: bool) -> None:
        """It never blocks."""

    def getpeername(self) -> str:
        """It has no address."""
        return ""

    def fileno(self) -> int:
        """There is nothing for a selector to look at."""
        return -1

    def close(self) -> None:
        """The near end closes."""
        self._closed = True

    def send(self, data: bytes) -> int:
        """A request: there is one at a time."""
        reply = self._network.answer(data)
        self._loop.call_later(0.01 + reply.delay, self._reply, *_rendered(reply, self._network.content(reply)))
        return len(data)

    def recv_into(self, into: memoryview) -> int:
        """What has arrived."""
        count = min(len(into), self._arrived)
        if count:
            into[:count] = self._coming[:count]
            del self._coming[:count]
            self._arrived -= count
            return count
        if self._coming or not self._ending:
            raise BlockingIOError
        if self._ending == "reset":
            raise ConnectionResetError("Connection reset by peer")
        return 0

    def _reply(self, data: bytes, ending: str) -> None:
        self._coming += data
        self._ending = ending
        self._loop.call_soon(self._deliver)

    def _deliver(self) -> None:
        if self._closed:
            return
        more = min(len(self._coming) - self._arrived, 10 * 1024)
        self._arrived += more
        if self.tell is not None:
            self.tell()
        if more:
            self._loop.call_soon(self._deliver)


class _Connection(Connection):
    """Waits for its wire, and not for a selector."""

    def __init__(self, wire: _Wire) -> None:
        super().__init__(16 * 1024, cast(socket.socket, wire))
        self._wire = wire

    async def _readable(self, wanted: int) -> None:
        if self.ended:
            return
        self._waiter = asyncio.get_running_loop().create_future()
        self._wire.tell = lambda: self._on_readable(wanted)
        try:
            await self._waiter
        finally:
            self._waiter = self._wire.tell = None

    def abort(self) -> None:
        self._wire.close()
        super().abort()


def _rendered(reply: Reply, content: bytes) -> tuple[bytes, str]:
    """The bytes of a reply, and what follows: "" (the connection stands), eof or reset."""
    if reply.raw is not None:
        return reply.raw, "eof"
    head = [f"HTTP/1.1 {reply.status} Said", *(f"{name}: {value}" for name, value in reply.fields), "", ""]
    limits = [limit for limit in (reply.cut, reply.reset, reply.stall) if limit is not None]
    sent = content[: min(limits)] if limits else content
    if reply.framing == "chunked":
        sent = (b"%x\r\n%b\r\n" % (len(sent), sent) if sent else b"") + (b"" if limits else b"0\r\n\r\n")
    ending = "reset" if reply.reset is not None else "" if reply.stall is not None else "eof"
    if reply.keeps_alive and not limits:
        ending = ""
    return "\r\n".join(head).encode("latin-1") + reply.body + sent, ending
