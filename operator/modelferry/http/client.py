"""Opens, keeps and hands out connections; sends a request and returns its judged-to-be head and its body."""

from __future__ import annotations

import asyncio
import socket
import ssl
from collections.abc import Callable
from contextlib import aclosing
from dataclasses import replace
from functools import partial

from modelferry.errors import CertificateRefused, ConnectionFailed, ModelferryError, Stall, UnknownHost
from modelferry.http.auth.credentials import LONGEST_ANSWER, HeaderFields, Refusal, renewed
from modelferry.http.proxy.forwarding import addressed, check
from modelferry.http.routes import Routes
from modelferry.http.tls.contexts import refused, turned_away
from modelferry.http.transport.connection import Connection, buffer_size, reason_of
from modelferry.http.transport.connection_key import ConnectionKey, Timeouts
from modelferry.http.transport.pipeline_pool import PipelinePool
from modelferry.http.transport.pipelining import Unanswered
from modelferry.http.transport.preconnect import Preconnect
from modelferry.http.transport.response import ConnectionOwner, Response
from modelferry.http.transport.sockets import open_socket
from modelferry.http.transport.throttle import ReceiveWindow, Throttle
from modelferry.http.transport.tls_connection import TLSConnection
from modelferry.http.wire import Head, HeadParser, Origin, ProtocolError, Request
from modelferry.manifest.entries import SOURCE

#: Connections with buffers for fast lines, which need no more of them; further ones are for weak lines, which need no
#: large buffers. Together they have twice the memory of either kind alone, at most.
_FAST = 16
#: What servers are given where nobody says otherwise.
_LIMITS = Timeouts()


class HTTPClient:
    """Connections to any origin, reused where the last answer allows it."""

    def __init__(
        self, routes: Routes, limits: Timeouts = _LIMITS, *, connections: int = 16, throttle: Throttle | None = None
    ) -> None:
        """`routes`: how each mirror is reached. `connections`: how many there will be at most, which share the memory.
        `throttle`: what they may receive together, and those to each mirror."""
        self.throttle = throttle or Throttle(connections)
        self._buffers = buffer_size(min(connections, _FAST)), buffer_size(connections)
        self._routes = routes
        self._limits = limits
        self._idle: dict[ConnectionKey, list[Connection]] = {}
        self._open: dict[Connection, ReceiveWindow | None] = {}
        self._preconnected: Preconnect[ConnectionKey, Connection] = Preconnect(self._connect)
        #: Of connections that small requests share.
        self.pipelines = PipelinePool(self)
        self._observers: list[Callable[[Origin, float], None]] = []

    @property
    def connections(self) -> int:
        """How many stand open."""
        return len(self._open)

    def on_connected(self, observe: Callable[[Origin, float], None]) -> None:
        """From now on, call `observe` with the server and the round trip, in seconds, of each new connection."""
        self._observers.append(observe)

    async def ask(
        self, request: Request, mirror: str = SOURCE, *, fresh_connection: bool = False, pipelined: bool = False
    ) -> Response:
        """Send `request` to a server of `mirror`, with what it wants to see, and wait for the head of its answer; once
        more where that was renewed after a 401 or 403. ``pipelined``: others may be on the same connection. The
        caller closes the Answer.

        Raises ConnectionFailed, Stall (no head within the deadline), UnknownHost, CertificateRefused, ProxyDenied,
        ProxyRefused, ProtocolError where what came is no response; or Unanswered, where it was sent behind others.
        """
        key = self._line(request.url, mirror)
        credential = key.route.credential
        shown = await credential.headers(request.url)
        if pipelined:
            answer = await self._send_pipelined(key, replace(request, fields=shown))
        else:
            answer = await self._send(key, replace(request, fields=shown), fresh_connection)
        try:
            await self._check_identity(key, answer)
            refusal = Refusal(request.url, answer.head.get("www-authenticate") or "", shown)
            if not await renewed(credential, refusal, answer.head.status, partial(self._small, key)):
                return answer
        except BaseException:
            answer.close()
            raise
        answer.close()
        return await self._send(key, replace(request, fields=await credential.headers(request.url)), False)

    def shares(self, url: str, mirror: str) -> bool:
        """May requests for `url` share a connection?"""
        return self.pipelines.allows(self._line(url, mirror))

    async def _check_identity(self, key: ConnectionKey, answer: Response) -> None:
        """Raise CertificateRefused where `answer` is a page that says that the server wants to know who we are."""
        if answer.head.status != 400 or key.origin.scheme != "https":
            return
        if told := turned_away(key.origin.authority, await self._page(answer), where=key.route.where):
            raise told

    async def _page(self, answer: Response) -> bytes:
        """A short body."""
        page = bytearray()
        async with aclosing(answer.body(LONGEST_ANSWER)) as pieces:
            async for piece in pieces:
                page += piece
        return bytes(page[:LONGEST_ANSWER])

    def _line(self, url: str, mirror: str) -> ConnectionKey:
        return ConnectionKey(Origin.of(url), self._routes.of(mirror), self.throttle.of(mirror))

    async def _small(self, beside: ConnectionKey, url: str, fields: HeaderFields, form: bytes) -> tuple[int, bytes]:
        """`credentials.Ask`, on the way of `beside`."""
        answer = await self._send(replace(beside, origin=Origin.of(url)), Request(url, fields=fields, form=form), False)
        try:
            return answer.head.status, await self._page(answer)
        finally:
            answer.close()

    async def _send_pipelined(self, key: ConnectionKey, request: Request) -> Response:
        pipe = self.pipelines.pipe(key)
        behind = pipe.requests > 0
        turn = pipe.send(request.encode())
        try:
            connection = await turn
            connection.received, connection.allowance = 0, None  # what is paid for is counted by answer
            answer = await self._head(key, connection, 0, self.pipelines.lender(pipe))
        except BaseException as error:
            if turn.done() and not turn.cancelled() and turn.exception() is None:
                self.pipelines.end(pipe)
            if isinstance(error, _Closed):
                raise Unanswered from error
            if isinstance(error, ProtocolError) and behind:
                self.pipelines.trust.spoil()
                raise Unanswered from error
            raise
        if behind:
            answer.behind = True
            self.pipelines.trust.answered()
        return answer

    async def borrow(self, key: ConnectionKey) -> Connection:
        """A connection that stands open, or is about to, or else a new one. Raises as `ask`."""
        return await self._standing(key) or await self._connect(key)

    async def _standing(self, key: ConnectionKey) -> Connection | None:
        return self._reusable(key) or await self._preconnected.take(key)

    async def _send(self, key: ConnectionKey, request: Request, fresh_connection: bool) -> Response:
        request = addressed(request, key.route.proxies)
        while True:
            connection = None if fresh_connection else await self._standing(key)
            reused = connection is not None
            connection = connection or await self._connect(key)
            try:
                acquired = await self._acquire_window(key, connection, request)
                connection.send(request.encode())
                answer = await self._head(key, connection, acquired, self)
                check(request, key.route.proxies, answer.head)
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
        presigner = self._routes.of(mirror).presigner
        try:
            return await presigner.url(url) if presigner is not None else url
        except (KeyError, OSError, ModelferryError) as error:
            raise ConnectionFailed("has no presigned URL in its Secret at the moment") from error

    def check_redirect(self, url: str, to: str, mirror: str) -> None:
        """A server of `mirror` redirects from `url` to `to`. Raises PrivateAddress where it may not."""
        self._routes.of(mirror).address_policy.check_redirect(Origin.of(url).host, Origin.of(to).host)

    def preconnect(self, url: str, mirror: str, count: int) -> None:
        """Begin to open `count` connections to the server of `url`, for those who will ask."""
        self._preconnected.open(self._line(url, mirror), count)

    async def close(self) -> None:
        """Close every connection."""
        await self._preconnected.close()
        await self.pipelines.close()
        for connection in list(self._open):
            self.drop(connection)

    async def _acquire_window(self, key: ConnectionKey, connection: Connection, request: Request) -> int:
        """Pay for what may arrive of the answer before it is read; returns the bytes that are paid for."""
        length = request.end - request.start if request.end is not None else None
        window = self.window(key, connection)
        return await key.throttle.acquire(window if length is None else min(window, length))

    def window(self, key: ConnectionKey, connection: Connection) -> int:
        """Bytes that the kernel may hold for `connection` unread, from now on no more than the limit has it: 0 where
        there was none when it was opened."""
        room, wanted = self._open.get(connection), key.throttle.room
        if wanted is not None and connection in self._open and (room is None or wanted.window < room.window // 2):
            # It may stay narrower than it could be, since the window's scale was agreed on when it was opened.
            connection.narrow(wanted.socket)
            self._open[connection] = room = wanted
        return room.window if room is not None else 0

    async def _head(
        self, key: ConnectionKey, connection: Connection, acquired: int, lender: ConnectionOwner
    ) -> Response:
        """The answer that comes next on `connection`."""
        clock = asyncio.get_running_loop().time
        parser, sent = HeadParser(), clock()
        try:
            async with asyncio.timeout(self._limits.head):
                while True:
                    data = await self._take_first(key, connection, parser)
                    head, used = parser.feed(data)
                    if head is not None:
                        waited = clock() - sent
                        key.throttle.answered(waited)
                        return Response(lender, key, connection, head, data[used:], self._limits, waited, acquired)
        except TimeoutError:
            raise Stall(f"sent no whole response head within {self._limits.head:.0f} s") from None

    async def _take_first(self, key: ConnectionKey, connection: Connection, parser: HeadParser) -> memoryview:
        try:
            data = await connection.take(1)
        except ConnectionFailed as error:
            # By TLS 1.3 a server judges our certificate only after the handshake has ended for us.
            if isinstance(error.__cause__, ssl.SSLError) and (told := _refused(key, error.__cause__)):
                raise told from error
            if parser.empty:
                raise _Closed from error
            raise
        if not data:
            if parser.empty:
                raise _Closed
            raise ConnectionFailed("closed the connection within the response head")
        return data

    def _reusable(self, key: ConnectionKey) -> Connection | None:
        idle = self._idle.get(key, [])
        while idle:
            connection = max(reversed(idle), key=lambda one: one.size)
            idle.remove(connection)
            room, wanted = self._open.get(connection), key.throttle.room
            if connection.quiet and (room.fits(wanted) if room is not None else wanted is None):
                return connection
            self.drop(connection)
        return None

    async def _connect(self, key: ConnectionKey) -> Connection:
        clock = asyncio.get_running_loop().time
        began = clock()
        try:
            async with asyncio.timeout(self._limits.connect):
                room = key.throttle.room
                receive = room.socket if room else None
                stream = await open_socket(
                    key.origin.url, key.route.proxies, self._limits.connect, key.route.address_policy, receive=receive
                )
                connection = self._new(key, stream, room)
                self._open[connection] = room
                dialled = clock()
                try:
                    await connection.handshake()
                except BaseException:
                    self.drop(connection)
                    raise
        except (OSError, TimeoutError) as error:
            raise _connect_fault(key, error, self._limits.connect) from error
        self._meet(key, dialled - began, clock() - dialled)
        return connection

    def _meet(self, key: ConnectionKey, dialling: float, handshake: float) -> None:
        """Each is a round trip (TLS 1.3: RFC 8446 section 2), and what is more of it is names, or processors at work.
        Through a proxy only the handshake goes from end to end."""
        direct = key.route.proxies.of(key.origin.url) is None
        trips = ([dialling] if direct else []) + ([handshake] if key.origin.scheme == "https" else [])
        if trips:
            for observe in self._observers:
                observe(key.origin, min(trips))

    def _new(self, key: ConnectionKey, dialled: socket.socket, room: ReceiveWindow | None) -> Connection:
        large, small = self._buffers
        size = large if sum(connection.size == large for connection in self._open) < _FAST else small
        if room is not None:
            size = min(size, room.buffer)
        if key.origin.scheme != "https":
            return Connection(size, dialled)
        return TLSConnection(size, dialled, key.route.trust(key.origin.url), key.origin.host)

    def followed(self) -> bool:
        """Is another answer awaited? A connection that is not shared carries one at a time."""
        return False

    def release(self, key: ConnectionKey, connection: Connection, kept: Head | None) -> None:
        """Take `connection` back from an Answer that is through with it; `kept` is its head, where it may carry
        another."""
        if kept is not None:
            self.pipelines.see(key, kept)
        if kept is not None and connection.quiet and connection in self._open:
            self._idle.setdefault(key, []).append(connection)
        else:
            self.drop(connection)

    def drop(self, connection: Connection) -> None:
        """Close `connection`."""
        self._open.pop(connection, None)
        connection.abort()


class _Closed(Exception):
    """The connection ended before the first byte of an answer."""


def _refused(key: ConnectionKey, error: ssl.SSLError) -> CertificateRefused | None:
    return refused(key.origin.authority, error, where=key.route.where)


def _connect_fault(key: ConnectionKey, error: BaseException, limit: float) -> ModelferryError:
    origin, proxy = key.origin, key.route.proxies.of(key.origin.url)
    if isinstance(error, socket.gaierror):
        return UnknownHost(
            f"{origin.host} does not resolve ({reason_of(error)}); check the name and this machine's DNS"
        )
    if isinstance(error, ssl.SSLError):
        return _refused(key, error) or ConnectionFailed(
            f"failed in the TLS handshake: {error.reason or reason_of(error)}"
        )
    if isinstance(error, TimeoutError) and not error.args:
        route = f" by way of the proxy {proxy}" if proxy else ""
        return ConnectionFailed(f"did not answer within {limit:.0f} s{route}")
    return ConnectionFailed(f"cannot be reached: {reason_of(error)}")
