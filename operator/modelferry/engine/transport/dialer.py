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
from modelferry.engine.transport.pipe import DEPTH, Pipe, Trust, Unanswered
from modelferry.engine.transport.proxied import addressed, check
from modelferry.engine.transport.secure import SecureConnection
from modelferry.engine.transport.throttle import Room, Throttle
from modelferry.engine.wire import Body, Head, HeadParser, Origin, ProtocolError, Request, keeps_alive
from modelferry.engine.wire.framing import framing_of
from modelferry.errors import CertificateRefused, ConnectionFailed, ModelferryError, Stall, UnknownHost
from modelferry.manifest.model import SOURCE
from modelferry.net.credentials import LONGEST_ANSWER, HeaderFields, Refusal, renewed
from modelferry.net.reach import reach
from modelferry.net.tls import refused, turned_away
from modelferry.net.ways import Way, Ways

#: Connections with buffers for fast lines, which need no more of them; further ones are for weak lines, which need no
#: large buffers. Together they have twice the memory of either kind alone, at most.
_FAST = 16


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
    """What a connection is good for: one server, reached in one way, under one limit."""

    origin: Origin
    way: Way
    throttle: Throttle


class Dialer:
    """Connections to any origin, reused where the last answer allows it."""

    def __init__(
        self, ways: Ways, limits: Limits = Limits(), *, connections: int = 16, throttle: Throttle | None = None
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
        self._pipes: dict[Line, list[Pipe]] = {}
        self._framed: set[Line] = set()
        #: In servers that are sent requests behind others.
        self.trust = Trust()
        #: Told of each connection that is made, with its round trip in seconds.
        self.met: Callable[[Origin, float], None] = lambda origin, rtt: None

    @property
    def connections(self) -> int:
        """How many stand open."""
        return len(self._open)

    async def ask(
        self, request: Request, mirror: str = SOURCE, *, fresh_connection: bool = False, behind: bool = False
    ) -> Answer:
        """Send `request` to a server of `mirror`, with what it wants to see, and wait for the head of its answer; once
        more where that was renewed after a 401 or 403. ``behind``: others may be on the same connection. The caller
        closes the Answer.

        Raises ConnectionFailed, Stall (no head within the deadline), UnknownHost, CertificateRefused, ProxyDenied,
        ProxyRefused, ProtocolError where what came is no response; or Unanswered, where it was sent behind others.
        """
        line = self._line(request.url, mirror)
        credential = line.way.credential
        shown = await credential.headers(request.url)
        if behind:
            answer = await self._send_behind(line, replace(request, fields=shown))
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

    def pipelines(self, url: str, mirror: str) -> bool:
        """May requests for `url` share a connection? A limit pays for what each connection may bring beforehand, a
        proxy that forwards them has its own mind, and a presigned URL may be at another server."""
        line = self._line(url, mirror)
        known = line in self._framed and line.way.presigner is None
        return known and self.trust.given and not line.throttle.limited

    def pipes(self, origin: Origin) -> int:
        """Connections to `origin` that requests share."""
        return sum(not pipe.ended for line, pipes in self._pipes.items() if line.origin == origin for pipe in pipes)

    def framed(self, line: Line) -> None:
        """A server keeps the connection, and says where its answers end."""
        if line not in self._framed:
            proxy = line.way.proxies.of(line.origin.url)
            if proxy is None or not proxy.forwards(line.origin.url):
                self._framed.add(line)

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

    async def _send_behind(self, line: Line, request: Request) -> Answer:
        pipe = self._pipe(line)
        behind = pipe.requests > 0
        sent = asyncio.get_running_loop().time()
        turn = pipe.send(request.encode())
        try:
            connection = await turn
            connection.received, connection.allowance = 0, None  # what is paid for is counted by answer
            answer = await self._head(line, connection, sent, 0, pipe)
        except BaseException as error:
            ours = turn.done() and not turn.cancelled() and turn.exception() is None
            if ours:
                self.trust.lost(pipe.end())
            if isinstance(error, _Closed):
                raise Unanswered from error
            if isinstance(error, ProtocolError) and behind:
                self.trust.spoil()
                raise Unanswered from error
            raise
        answer.behind = behind
        if behind:
            self.trust.answered()
        return answer

    def _pipe(self, line: Line) -> Pipe:
        """The one that fewest wait for; a new one where none has room, so that there are no more than necessary."""
        pipes = self._pipes[line] = [pipe for pipe in self._pipes.get(line, ()) if not pipe.ended]
        least = min(pipes, key=lambda pipe: pipe.requests, default=None)
        if least is not None and least.requests < DEPTH:
            return least
        idle = self._reusable(line)
        opening = self._ahead.reserve(line) if idle is None else None

        async def connect() -> Connection:
            made = await self._ahead.opened(line, opening) if opening is not None else idle
            return made or await self._connect(line)

        pipes.append(Pipe(connect, self._drop))
        return pipes[-1]

    async def _send(self, line: Line, request: Request, fresh_connection: bool) -> Answer:
        request = addressed(request, line.way.proxies)
        while True:
            connection = None if fresh_connection else self._reusable(line) or await self._ahead.take(line)
            reused = connection is not None
            connection = connection or await self._connect(line)
            try:
                paid = await self._pay_ahead(line, connection, request)
                sent = asyncio.get_running_loop().time()
                connection.send(request.encode())
                answer = await self._head(line, connection, sent, paid)
                check(request, line.way.proxies, answer.head)
                return answer
            except _Closed as error:
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
        self._ahead.open(self._line(url, mirror), count)

    async def close(self) -> None:
        """Close every connection."""
        await self._ahead.close()
        opening = [pipe.opening for pipes in self._pipes.values() for pipe in pipes]
        for task in opening:
            task.cancel()
        await asyncio.gather(*opening, return_exceptions=True)
        for connection in list(self._open):
            self._drop(connection)

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

    async def _head(
        self, line: Line, connection: Connection, sent: float, paid: int, pipe: Pipe | None = None
    ) -> Answer:
        """The answer that comes next on `connection`, to a request that was sent at clock reading `sent`."""
        parser = HeadParser()
        try:
            async with asyncio.timeout(self._limits.head):
                while True:
                    data = await self._take_first(line, connection, parser)
                    head, used = parser.feed(data)
                    if head is not None:
                        waited = asyncio.get_running_loop().time() - sent
                        line.throttle.answered(waited)
                        return Answer(self, line, connection, head, data[used:], self._limits, waited, paid, pipe)
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
            self._drop(connection)
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
                    self._drop(connection)
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

    def release(self, line: Line, connection: Connection, reusable: bool, pipe: Pipe | None) -> None:
        """Take `connection` back from an Answer that is through with it; of a `pipe`, the next answer is on it."""
        if pipe is not None and pipe.ended:
            return
        if pipe is not None and reusable and pipe.requests > 1:
            pipe.next()
            return
        if pipe is not None:
            self.trust.lost(pipe.end(keep=reusable))
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
        pipe: Pipe | None = None,
    ) -> None:
        """`waited`: seconds from the request to its head. `paid`: bytes of its body that the throttle has given.
        `pipe`: others may wait for their answers behind this one."""
        self.head = head
        self.waited = waited
        #: Its request was sent before the answer to another one had come.
        self.behind = False
        self._pipe = pipe
        self.peer = connection.peer
        self._dialer = dialer
        self._line = line
        self._connection = connection
        self._first = first
        self._limits = limits
        self._paid = paid
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
            if body.surplus and self._pipe is not None and self._pipe.requests > 1:
                self._connection.unread(body.after)
                self.surplus = False
            if body.complete or taken > length or (taken == length and framing.kind == "close"):
                self.whole = self.whole or framing.kind == "close"
                return
            data = await self._more(body.left if body.left is not None else 1, length)
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
            body is not None and body.complete and not self.surplus and keeps_alive(self.head, framing_of(self.head))
        )
        if reusable and self.head.version >= (1, 1):
            self._dialer.framed(self._line)
        self._dialer.release(self._line, self._connection, reusable, self._pipe)

    async def _more(self, left: int, length: int) -> memoryview:
        # To wait for `floor` bytes at a time is to enforce the floor rate. The time that a limit takes is none of the
        # server's.
        wanted = min(left, max(1, self._limits.floor), self._connection.size)
        await asyncio.sleep(0)  # on a fast line there is always more: the others have their turn
        connection, patience = self._connection, self._limits.stall
        connection.allowance = 0 if self._line.throttle.limited else None
        while (data := connection.ready(wanted)) is None:
            if connection.allowance == 0:
                await self._pay(length)
                continue
            began = asyncio.get_running_loop().time()
            try:
                async with asyncio.timeout(patience):
                    await connection.more(wanted)
            except TimeoutError:
                raise Stall(f"brought less than {wanted} bytes in {self._limits.stall:.0f} s") from None
            patience -= asyncio.get_running_loop().time() - began
        return data

    async def _pay(self, length: int) -> None:
        """Have some more read from the socket, which makes room there for as much: both are paid for, up to the
        `length` of all."""
        throttle, connection = self._line.throttle, self._connection
        window, step = self._dialer.window(self._line, connection), throttle.step
        due = min(connection.received + window + step, length)
        self._paid += await throttle.pay(due - self._paid)
        connection.allowance = step if throttle.limited else None


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


__all__ = ["Answer", "Dialer", "Limits", "ProtocolError", "Unanswered"]
