"""Opens, keeps and hands out connections; sends a request and returns its judged-to-be head and its body."""

from __future__ import annotations

import asyncio
import socket
import ssl
from collections.abc import Callable
from contextlib import aclosing
from dataclasses import replace
from functools import partial

from modelferry.engine.transport.ahead import Ahead
from modelferry.engine.transport.answer import Answer, Lender
from modelferry.engine.transport.connection import Connection, buffer_size, reason_of
from modelferry.engine.transport.line import Limits, Line
from modelferry.engine.transport.pipe import Unanswered
from modelferry.engine.transport.proxied import addressed, check
from modelferry.engine.transport.secure import SecureConnection
from modelferry.engine.transport.sharing import Sharing
from modelferry.engine.transport.throttle import Room, Throttle
from modelferry.engine.wire import Head, HeadParser, Origin, ProtocolError, Request
from modelferry.errors import CertificateRefused, ConnectionFailed, ModelferryError, Stall, UnknownHost
from modelferry.manifest.model import SOURCE
from modelferry.net.credentials import LONGEST_ANSWER, HeaderFields, Refusal, renewed
from modelferry.net.reach import reach
from modelferry.net.tls import refused, turned_away
from modelferry.net.ways import Ways

#: Connections with buffers for fast lines, which need no more of them; further ones are for weak lines, which need no
#: large buffers. Together they have twice the memory of either kind alone, at most.
_FAST = 16
#: What servers are given where nobody says otherwise.
_LIMITS = Limits()


class Dialer:
    """Connections to any origin, reused where the last answer allows it."""

    def __init__(
        self, ways: Ways, limits: Limits = _LIMITS, *, connections: int = 16, throttle: Throttle | None = None
    ) -> None:
        """`ways`: how each mirror is reached. `connections`: how many there will be at most, which share the memory.
        `throttle`: what they may receive together, and those to each mirror."""
        self.throttle = throttle or Throttle(connections)
        self._buffers = buffer_size(min(connections, _FAST)), buffer_size(connections)
        self._ways = ways
        self._limits = limits
        self._idle: dict[Line, list[Connection]] = {}
        self._open: dict[Connection, Room | None] = {}
        self._ahead: Ahead[Line, Connection] = Ahead(self._connect)
        #: Of connections that small requests share.
        self.sharing = Sharing(self)
        #: Told of each connection that is made, with its round trip in seconds.
        self.met: Callable[[Origin, float], None] = lambda origin, rtt: None

    @property
    def connections(self) -> int:
        """How many stand open."""
        return len(self._open)

    async def ask(
        self, request: Request, mirror: str = SOURCE, *, fresh_connection: bool = False, pipelined: bool = False
    ) -> Answer:
        """Send `request` to a server of `mirror`, with what it wants to see, and wait for the head of its answer; once
        more where that was renewed after a 401 or 403. ``pipelined``: others may be on the same connection. The
        caller closes the Answer.

        Raises ConnectionFailed, Stall (no head within the deadline), UnknownHost, CertificateRefused, ProxyDenied,
        ProxyRefused, ProtocolError where what came is no response; or Unanswered, where it was sent behind others.
        """
        line = self._line(request.url, mirror)
        credential = line.way.credential
        shown = await credential.headers(request.url)
        if pipelined:
            answer = await self._send_pipelined(line, replace(request, fields=shown))
        else:
            answer = await self._send(line, replace(request, fields=shown), fresh_connection)
        try:
            await self._check_identity(line, answer)
            refusal = Refusal(request.url, answer.head.get("www-authenticate") or "", shown)
            if not await renewed(credential, refusal, answer.head.status, partial(self._small, line)):
                return answer
        except BaseException:
            answer.close()
            raise
        answer.close()
        return await self._send(line, replace(request, fields=await credential.headers(request.url)), False)

    def shares(self, url: str, mirror: str) -> bool:
        """May requests for `url` share a connection?"""
        return self.sharing.allows(self._line(url, mirror))

    async def _check_identity(self, line: Line, answer: Answer) -> None:
        """Raise CertificateRefused where `answer` is a page that says that the server wants to know who we are."""
        if answer.head.status != 400 or line.origin.scheme != "https":
            return
        if told := turned_away(line.origin.authority, await self._page(answer), where=line.way.where):
            raise told

    async def _page(self, answer: Answer) -> bytes:
        """A short body."""
        page = bytearray()
        async with aclosing(answer.body(LONGEST_ANSWER)) as pieces:
            async for piece in pieces:
                page += piece
        return bytes(page[:LONGEST_ANSWER])

    def _line(self, url: str, mirror: str) -> Line:
        return Line(Origin.of(url), self._ways.of(mirror), self.throttle.of(mirror))

    async def _small(self, beside: Line, url: str, fields: HeaderFields, form: bytes) -> tuple[int, bytes]:
        """`credentials.Ask`, on the way of `beside`."""
        answer = await self._send(replace(beside, origin=Origin.of(url)), Request(url, fields=fields, form=form), False)
        try:
            return answer.head.status, await self._page(answer)
        finally:
            answer.close()

    async def _send_pipelined(self, line: Line, request: Request) -> Answer:
        pipe = self.sharing.pipe(line)
        behind = pipe.requests > 0
        turn = pipe.send(request.encode())
        try:
            connection = await turn
            connection.received, connection.allowance = 0, None  # what is paid for is counted by answer
            answer = await self._head(line, connection, 0, self.sharing.lender(pipe))
        except BaseException as error:
            if turn.done() and not turn.cancelled() and turn.exception() is None:
                self.sharing.end(pipe)
            if isinstance(error, _Closed):
                raise Unanswered from error
            if isinstance(error, ProtocolError) and behind:
                self.sharing.trust.spoil()
                raise Unanswered from error
            raise
        if behind:
            answer.behind = True
            self.sharing.trust.answered()
        return answer

    async def borrow(self, line: Line) -> Connection:
        """A connection that stands open, or is about to, or else a new one. Raises as `ask`."""
        return await self._standing(line) or await self._connect(line)

    async def _standing(self, line: Line) -> Connection | None:
        return self._reusable(line) or await self._ahead.take(line)

    async def _send(self, line: Line, request: Request, fresh_connection: bool) -> Answer:
        request = addressed(request, line.way.proxies)
        while True:
            connection = None if fresh_connection else await self._standing(line)
            reused = connection is not None
            connection = connection or await self._connect(line)
            try:
                paid = await self._pay_ahead(line, connection, request)
                connection.send(request.encode())
                answer = await self._head(line, connection, paid, self)
                check(request, line.way.proxies, answer.head)
                return answer
            except _Closed as error:
                self.drop(connection)
                # A kept connection that the server had already closed says nothing about the server (RFC 9112 9.3.1).
                if not reused:
                    raise ConnectionFailed("closed the connection without an answer") from error
            except BaseException:
                self.drop(connection)
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
        self._ahead.open(self._line(url, mirror), count)

    async def close(self) -> None:
        """Close every connection."""
        await self._ahead.close()
        await self.sharing.close()
        for connection in list(self._open):
            self.drop(connection)

    async def _pay_ahead(self, line: Line, connection: Connection, request: Request) -> int:
        """Pay for what may arrive of the answer before it is read; returns the bytes that are paid for."""
        length = request.end - request.start if request.end is not None else None
        window = self.window(line, connection)
        return await line.throttle.pay(window if length is None else min(window, length))

    def window(self, line: Line, connection: Connection) -> int:
        """Bytes that the kernel may hold for `connection` unread, from now on no more than the limit has it: 0 where
        there was none when it was opened."""
        room, wanted = self._open.get(connection), line.throttle.room
        if wanted is not None and connection in self._open and (room is None or wanted.window < room.window // 2):
            # It may stay narrower than it could be, since the window's scale was agreed on when it was opened.
            connection.narrow(wanted.socket)
            self._open[connection] = room = wanted
        return room.window if room is not None else 0

    async def _head(self, line: Line, connection: Connection, paid: int, lender: Lender) -> Answer:
        """The answer that comes next on `connection`."""
        clock = asyncio.get_running_loop().time
        parser, sent = HeadParser(), clock()
        try:
            async with asyncio.timeout(self._limits.head):
                while True:
                    data = await self._take_first(line, connection, parser)
                    head, used = parser.feed(data)
                    if head is not None:
                        waited = clock() - sent
                        line.throttle.answered(waited)
                        return Answer(lender, line, connection, head, data[used:], self._limits, waited, paid)
        except TimeoutError:
            raise Stall(f"sent no whole response head within {self._limits.head:.0f} s") from None

    async def _take_first(self, line: Line, connection: Connection, parser: HeadParser) -> memoryview:
        try:
            data = await connection.take(1)
        except ConnectionFailed as error:
            # By TLS 1.3 a server judges our certificate only after the handshake has ended for us.
            if isinstance(error.__cause__, ssl.SSLError) and (told := _refused(line, error.__cause__)):
                raise told from error
            if parser.empty:
                raise _Closed from error
            raise
        if not data:
            if parser.empty:
                raise _Closed
            raise ConnectionFailed("closed the connection within the response head")
        return data

    def _reusable(self, line: Line) -> Connection | None:
        idle = self._idle.get(line, [])
        while idle:
            connection = max(reversed(idle), key=lambda one: one.size)
            idle.remove(connection)
            room, wanted = self._open.get(connection), line.throttle.room
            if connection.quiet and (room.fits(wanted) if room is not None else wanted is None):
                return connection
            self.drop(connection)
        return None

    async def _connect(self, line: Line) -> Connection:
        clock = asyncio.get_running_loop().time
        began = clock()
        try:
            async with asyncio.timeout(self._limits.connect):
                room = line.throttle.room
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
                    self.drop(connection)
                    raise
        except (OSError, TimeoutError) as error:
            raise _connect_fault(line, error, self._limits.connect) from error
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
        return SecureConnection(size, dialled, line.way.trust(line.origin.url), line.origin.host)

    def followed(self) -> bool:
        """Is another answer awaited? A connection that is not shared carries one at a time."""
        return False

    def release(self, line: Line, connection: Connection, kept: Head | None) -> None:
        """Take `connection` back from an Answer that is through with it; `kept` is its head, where it may carry
        another."""
        if kept is not None:
            self.sharing.see(line, kept)
        if kept is not None and connection.quiet and connection in self._open:
            self._idle.setdefault(line, []).append(connection)
        else:
            self.drop(connection)

    def drop(self, connection: Connection) -> None:
        """Close `connection`."""
        self._open.pop(connection, None)
        connection.abort()


class _Closed(Exception):
    """The connection ended before the first byte of an answer."""


def _refused(line: Line, error: ssl.SSLError) -> CertificateRefused | None:
    return refused(line.origin.authority, error, where=line.way.where)


def _connect_fault(line: Line, error: BaseException, limit: float) -> ModelferryError:
    origin, proxy = line.origin, line.way.proxies.of(line.origin.url)
    if isinstance(error, socket.gaierror):
        return UnknownHost(
            f"{origin.host} does not resolve ({reason_of(error)}); check the name and this machine's DNS"
        )
    if isinstance(error, ssl.SSLError):
        return _refused(line, error) or ConnectionFailed(
            f"failed in the TLS handshake: {error.reason or reason_of(error)}"
        )
    if isinstance(error, TimeoutError) and not error.args:
        way = f" by way of the proxy {proxy}" if proxy else ""
        return ConnectionFailed(f"did not answer within {limit:.0f} s{way}")
    return ConnectionFailed(f"cannot be reached: {reason_of(error)}")
