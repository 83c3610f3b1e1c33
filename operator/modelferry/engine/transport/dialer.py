"""Opens, keeps and hands out connections; sends a request and returns its judged-to-be head and its body."""

from __future__ import annotations

import asyncio
import socket
import ssl
from collections.abc import AsyncGenerator, Callable
from contextlib import aclosing
from dataclasses import dataclass, replace
from functools import partial

from modelferry.engine.transport.ahead import Ahead
from modelferry.engine.transport.connection import Connection, buffer_size, reason_of
from modelferry.engine.transport.proxied import addressed, check
from modelferry.engine.transport.secure import SecureConnection
from modelferry.engine.transport.throttle import Room, Throttle
from modelferry.engine.wire import Body, Head, HeadParser, Origin, ProtocolError, Request, keeps_alive
from modelferry.engine.wire.framing import framing_of
from modelferry.errors import CertificateRefused, ConnectionFailed, ModelferryError, Stall, UnknownHost
from modelferry.manifest.model import SOURCE
from modelferry.net.credentials import LONGEST_ANSWER, HeaderFields, Refusal, renewed
from modelferry.net.proxy import Proxy
from modelferry.net.reach import reach
from modelferry.net.tls import refused
from modelferry.net.ways import Way, Ways

#: Connections with buffers for fast lines, which need no more of them; further ones are for weak lines, which need no
#: large buffers. Together they have twice the memory of either kind alone, at most.
_FAST = 16
#: A stream is slow where so many seconds bring less than the floor, or where its head took so long, until it shows
#: better. Bytes of a slow stream are given out by the TLS record: waited for in larger pieces they would look like
#: silence, and a part that was cut short would end late.
_SLOW, _FAR, _RECORD = 0.1, 0.05, 16 << 10


@dataclass(frozen=True, slots=True)
class Limits:
    """How long a server may take, in seconds. ``floor`` is the least number of bytes that ``stall`` seconds must bring
    to a stream; a slower one is aborted."""

    connect: float = 15.0
    head: float = 30.0
    stall: float = 30.0
    floor: int = 64 * 1024


@dataclass(frozen=True, slots=True)
class Line:
    """What a connection is good for: one server, reached in one way."""

    origin: Origin
    way: Way


class Dialer:
    """Connections to any origin, reused where the last answer allows it."""

    def __init__(
        self, ways: Ways, limits: Limits = Limits(), *, connections: int = 16, throttle: Throttle | None = None
    ) -> None:
        """`ways`: how each mirror is reached. `connections`: how many there will be at most, which share the memory.
        `throttle`: what they may receive together."""
        self.throttle = throttle or Throttle(connections)
        self._buffers = buffer_size(min(connections, _FAST)), buffer_size(connections)
        self._ways = ways
        self._limits = limits
        self._idle: dict[Line, list[Connection]] = {}
        self._open: dict[Connection, Room | None] = {}
        self._ahead: Ahead[Line, Connection] = Ahead(self._connect)
        #: Told of each connection that is made, with its round trip in seconds.
        self.met: Callable[[Origin, float], None] = lambda origin, rtt: None

    @property
    def connections(self) -> int:
        """How many stand open."""
        return len(self._open)

    async def ask(self, request: Request, mirror: str = SOURCE, *, fresh_connection: bool = False) -> Answer:
        """Send `request` to a server of `mirror`, with what it wants to see, and wait for the head of its answer; once
        more where that was renewed after a 401 or 403. The caller closes the Answer.

        Raises ConnectionFailed, Stall (no head within the deadline), UnknownHost, CertificateRefused, ProxyDenied,
        ProxyRefused, or ProtocolError where what came is no response.
        """
        line = Line(Origin.of(request.url), self._ways.of(mirror))
        credential = line.way.credential
        shown = await credential.headers(request.url)
        answer = await self._send(line, replace(request, fields=shown), fresh_connection)
        try:
            refusal = Refusal(request.url, answer.head.get("www-authenticate") or "", shown)
            if not await renewed(credential, refusal, answer.head.status, partial(self._small, line.way)):
                return answer
        except BaseException:
            answer.close()
            raise
        answer.close()
        return await self._send(line, replace(request, fields=await credential.headers(request.url)), False)

    async def _small(self, way: Way, url: str, fields: HeaderFields, form: bytes) -> tuple[int, bytes]:
        """`credentials.Ask`, on `way`."""
        answer = await self._send(Line(Origin.of(url), way), Request(url, fields=fields, form=form), False)
        try:
            body = bytearray()
            async with aclosing(answer.body(LONGEST_ANSWER)) as pieces:
                async for piece in pieces:
                    body += piece
            return answer.head.status, bytes(body[:LONGEST_ANSWER])
        finally:
            answer.close()

    async def _send(self, line: Line, request: Request, fresh_connection: bool) -> Answer:
        request = addressed(request, line.way.proxies)
        while True:
            connection = None if fresh_connection else self._reusable(line) or await self._ahead.take(line)
            reused = connection is not None
            connection = connection or await self._connect(line)
            try:
                paid = await self._pay_ahead(connection, request)
                answer = await self._exchange(line, connection, request, paid)
                check(request, line.way.proxies, answer.head)
                return answer
            except _Unanswered as error:
                self._drop(connection)
                # A kept connection that the server had already closed says nothing about the server (RFC 9112 9.3.1).
                if not reused:
                    raise ConnectionFailed("closed the connection without an answer") from error
            except BaseException:
                self._drop(connection)
                raise

    async def address(self, url: str, mirror: str) -> str:
        """What is to be asked in the place of `url`, a place's of `mirror`. Raises ConnectionFailed where there is
        nothing for it at the moment."""
        presigner = self._ways.of(mirror).presigner
        try:
            return await presigner.url(url) if presigner is not None else url
        except (KeyError, OSError, ModelferryError) as error:
            raise ConnectionFailed("has no presigned URL in its Secret at the moment") from error

    def lead(self, url: str, to: str, mirror: str) -> None:
        """A server of `mirror` redirects from `url` to `to`. Raises PrivateAddress where it may not."""
        self._ways.of(mirror).territory.lead(Origin.of(url).host, Origin.of(to).host)

    def warm(self, url: str, mirror: str, count: int) -> None:
        """Begin to open `count` connections to the server of `url`, for those who will ask."""
        self._ahead.open(Line(Origin.of(url), self._ways.of(mirror)), count)

    async def close(self) -> None:
        """Close every connection."""
        await self._ahead.close()
        for connection in list(self._open):
            self._drop(connection)

    async def _pay_ahead(self, connection: Connection, request: Request) -> int:
        """Pay for what may arrive of the answer before it is read; returns the bytes that are paid for."""
        room = self._open.get(connection)
        length = request.end - request.start if request.end is not None else None
        window = room.window if room is not None else 0
        return await self.throttle.pay(window if length is None else min(window, length))

    async def _exchange(self, line: Line, connection: Connection, request: Request, paid: int) -> Answer:
        clock = asyncio.get_running_loop().time
        sent = clock()
        connection.send(request.encode())
        parser = HeadParser()
        try:
            async with asyncio.timeout(self._limits.head):
                while True:
                    data = await self._take_first(connection, parser)
                    head, used = parser.feed(data)
                    if head is not None:
                        waited = clock() - sent
                        self.throttle.answered(waited)
                        return Answer(self, line, connection, head, data[used:], self._limits, waited, paid)
        except TimeoutError:
            raise Stall(f"sent no whole response head within {self._limits.head:.0f} s") from None

    async def _take_first(self, connection: Connection, parser: HeadParser) -> memoryview:
        try:
            data = await connection.take(1)
        except ConnectionFailed as error:
            if parser.empty:
                raise _Unanswered from error
            raise
        if not data:
            if parser.empty:
                raise _Unanswered
            raise ConnectionFailed("closed the connection within the response head")
        return data

    def _reusable(self, line: Line) -> Connection | None:
        idle = self._idle.get(line, [])
        while idle:
            connection = max(reversed(idle), key=lambda one: one.size)
            idle.remove(connection)
            room, wanted = self._open.get(connection), self.throttle.room
            if connection.quiet and (room.fits(wanted) if room is not None else wanted is None):
                return connection
            self._drop(connection)
        return None

    async def _connect(self, line: Line) -> Connection:
        clock = asyncio.get_running_loop().time
        began = clock()
        try:
            async with asyncio.timeout(self._limits.connect):
                room = self.throttle.room
                receive = room.socket if room else None
                stream = await reach(
                    line.origin.url, line.way.proxies, self._limits.connect, line.way.territory, receive=receive
                )
                connection = self._new(line, stream, room)
                self._open[connection] = room
                dialled = clock()
                try:
                    await connection.handshake()
                except BaseException:
                    self._drop(connection)
                    raise
        except (OSError, TimeoutError) as error:
            by_way_of = line.way.proxies.of(line.origin.url)
            raise _connect_fault(line.origin, error, self._limits.connect, by_way_of) from error
        self._meet(line, dialled - began, clock() - dialled)
        return connection

    def _meet(self, line: Line, dialling: float, handshake: float) -> None:
        """Each is a round trip (TLS 1.3: RFC 8446 section 2), and what is more of it is names, or processors at work.
        Through a proxy only the handshake goes from end to end."""
        direct = line.way.proxies.of(line.origin.url) is None
        trips = ([dialling] if direct else []) + ([handshake] if line.origin.scheme == "https" else [])
        if trips:
            self.met(line.origin, min(trips))

    def _new(self, line: Line, dialled: socket.socket, room: Room | None) -> Connection:
        large, small = self._buffers
        size = large if sum(connection.size == large for connection in self._open) < _FAST else small
        if room is not None:
            size = min(size, room.buffer)
        if line.origin.scheme != "https":
            return Connection(size, dialled)
        return SecureConnection(size, dialled, line.way.context, line.origin.host)

    def release(self, line: Line, connection: Connection, reusable: bool) -> None:
        """Take `connection` back from an Answer that is through with it."""
        if reusable and connection.quiet and connection in self._open:
            self._idle.setdefault(line, []).append(connection)
        else:
            self._drop(connection)

    def _drop(self, connection: Connection) -> None:
        self._open.pop(connection, None)
        connection.abort()


class Answer:
    """A response: its head, and its body once."""

    def __init__(
        self,
        dialer: Dialer,
        line: Line,
        connection: Connection,
        head: Head,
        first: memoryview,
        limits: Limits,
        waited: float,
        paid: int,
    ) -> None:
        """`waited`: seconds from the request to its head. `paid`: bytes of its body that the throttle has given."""
        self.head = head
        self.waited = waited
        self.peer = connection.peer
        self._dialer = dialer
        self._line = line
        self._connection = connection
        self._first = first
        self._limits = limits
        self._paid = paid
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
            self.whole, self.surplus = body.complete, body.surplus
            if body.complete or taken > length or (taken == length and framing.kind == "close"):
                self.whole = self.whole or framing.kind == "close"
                return
            # What was just given out has made room for as much.
            self._paid += await self._dialer.throttle.pay(min(len(data), length - self._paid))
            data = await self._more(body.left if body.left is not None else 1)
            if not data:
                self.whole = body.close()
                return

    def abort(self) -> None:
        """Break the connection: the body ends with what is received already."""
        self._connection.abort()

    def close(self) -> None:
        """Give the connection back, for reuse where body and server allow it."""
        body = self._framing_body
        reusable = (
            body is not None and body.complete and not body.surplus and keeps_alive(self.head, framing_of(self.head))
        )
        self._dialer.release(self._line, self._connection, reusable)

    async def _more(self, left: int) -> memoryview:
        # To wait for `floor` bytes is to enforce the floor rate. A limit makes buffers, and so the floor, smaller; the
        # time that it takes is none of the server's.
        floor = min(max(1, self._limits.floor), self._connection.size)
        wanted = min(left, floor)
        await asyncio.sleep(0)  # on a fast line there is always more: the others have their turn
        if (data := self._connection.ready(wanted)) is None:
            data = await self._wait(min(wanted, _RECORD) if self._slow else wanted, wanted)
        self._came += len(data)
        if self._came >= floor:
            self._slow = self._spent > _SLOW
            self._came, self._spent = 0, 0.0
        return data

    async def _wait(self, piece: int, wanted: int) -> memoryview:
        clock = asyncio.get_running_loop().time
        began = clock()
        try:
            async with asyncio.timeout(self._limits.stall - self._spent):
                return await self._connection.take(piece)
        except TimeoutError:
            raise Stall(f"brought less than {wanted} bytes in {self._limits.stall:.0f} s") from None
        finally:
            self._spent += clock() - began


class _Unanswered(Exception):
    """The connection ended before the first byte of an answer."""


def _connect_fault(origin: Origin, error: BaseException, limit: float, proxy: Proxy | None) -> ModelferryError:
    if isinstance(error, socket.gaierror):
        return UnknownHost(
            f"{origin.host} does not resolve ({reason_of(error)}); check the name and this machine's DNS"
        )
    if isinstance(error, ssl.SSLError):
        told: CertificateRefused | None = refused(origin.authority, error)
        return told or ConnectionFailed(f"failed in the TLS handshake: {error.reason or reason_of(error)}")
    if isinstance(error, TimeoutError) and not error.args:
        way = f" by way of the proxy {proxy}" if proxy else ""
        return ConnectionFailed(f"did not answer within {limit:.0f} s{way}")
    return ConnectionFailed(f"cannot be reached: {reason_of(error)}")


__all__ = ["Answer", "Dialer", "Limits", "ProtocolError"]
