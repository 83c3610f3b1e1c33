"""A network in memory: the real dialer and connections over transports that answer by the hostile origin's rules."""

from __future__ import annotations

import asyncio
import hashlib
import socket
import ssl
from collections.abc import Mapping

from modelferry.http.client import HTTPClient
from modelferry.http.routes import Route, Routes
from modelferry.http.transport.connection import Connection
from modelferry.http.transport.connection_key import ConnectionKey, Timeouts
from modelferry.http.transport.connection_pool import ConnectionPool
from origin.rules import ReceivedRequest, Reply, Rule, Served, reply_to
from origin.server import parse

#: What a connection attempt may meet with, in the stead of an answer.
REFUSED = "connection refused"

#: There is no TLS here.
_UNUSED = Routes(Route(ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)))


class ScriptedNetwork(HTTPClient):
    """Answers request number n (from 0) by ``script[n]``, and honestly where it has nothing for it."""

    def __init__(self, contents: Mapping[str, bytes], script: Mapping[int, Rule] = {}, *, digest: bool = False) -> None:
        super().__init__(_UNUSED, pool=_ScriptedPool(self))
        self.asked: list[ReceivedRequest] = []
        self._contents = contents
        self._script = script
        self._digest = digest

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


class _ScriptedPool(ConnectionPool):
    """Opens connections to `network`."""

    def __init__(self, network: ScriptedNetwork) -> None:
        super().__init__(Timeouts(connect=5.0, head=5.0, stall=5.0, floor=1), connections=64)
        self._network = network

    async def connect(self, key: ConnectionKey) -> Connection:
        await asyncio.sleep(0.01)
        connection = _Scripted(self._network)
        self.connections.add(connection)
        return connection


class _Scripted(Connection):
    """What is sent comes back in pieces of 10 KiB, each in a turn of its own. The socket is never used."""

    def __init__(self, network: ScriptedNetwork) -> None:
        super().__init__(16 * 1024, socket.socket())
        self._network = network
        self._coming = bytearray()
        self._arrived = bytearray()
        self._ending = ""
        self._wanted = 1

    def abort(self) -> None:
        """See Connection."""
        self._coming.clear()
        super().abort()

    def _send(self, data: bytes) -> None:
        """A request: there is one at a time."""
        if not self.ended:
            reply = self._network.answer(bytes(data))
            self._loop.call_later(0.01 + reply.delay, self._reply, *_rendered(reply, self._network.content(reply)))

    def _reply(self, data: bytes, ending: str) -> None:
        self._coming += data
        self._ending = ending
        self._loop.call_soon(self._arrive)

    def _arrive(self) -> None:
        if self.ended:
            return
        self._arrived += self._coming[: 10 * 1024]
        del self._coming[: 10 * 1024]
        self._on_readable(self._wanted)
        if self._coming:
            self._loop.call_soon(self._arrive)

    def _receive(self, into: memoryview) -> int:
        if self._arrived:
            count = min(len(into), len(self._arrived))
            into[:count] = self._arrived[:count]
            del self._arrived[:count]
            return count
        if self._coming or not self._ending:
            return -1
        if self._ending == "reset":
            self._fail(ConnectionResetError("Connection reset by peer"))
        self.ended = True
        return 0

    async def _readable(self, wanted: int) -> None:
        if not self.ended:
            self._wanted, self._waiter = wanted, self._loop.create_future()
            await self._waiter


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
