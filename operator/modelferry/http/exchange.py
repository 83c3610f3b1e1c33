"""One request and its response on a connection of a pool."""

from __future__ import annotations

import asyncio
import ssl
from contextlib import suppress
from dataclasses import dataclass

from modelferry.errors import ConnectionFailed, Stall
from modelferry.http.proxy.forwarding import check_forwarded, request_for_proxy
from modelferry.http.transport.connect_errors import server_certificate_error
from modelferry.http.transport.connection_key import ConnectionKey, Timeouts
from modelferry.http.transport.connection_pool import ConnectionPool, PipelineTurn, PooledConnection
from modelferry.http.transport.pipelining import Unanswered
from modelferry.http.transport.response import Response
from modelferry.http.wire import HeadParser, ProtocolError, Request

#: Seconds after which a request that got no response on a new connection is sent on an idle one, if there is one.
STARVED_AFTER = 2.0


class ClosedWithoutResponse(Exception):
    """The connection ended before the first byte of a response."""


@dataclass(frozen=True, slots=True)
class Exchange:
    """Sends requests with one `key` over the connections of `pool`. ``timeouts``: of the responses."""

    pool: ConnectionPool
    key: ConnectionKey
    timeouts: Timeouts

    async def send(self, request: Request, *, fresh: bool = False) -> Response:
        """The response to `request`, on a connection of its own, which is new where it is to be `fresh`.

        Raises what `ConnectionPool.connect` raises; ConnectionFailed, where it is closed without a response; Stall,
        where no head arrives in time; ProtocolError; and what a proxy's own response means.
        """
        request = request_for_proxy(request, self.key.route.proxies)
        pooled = None if fresh else self.pool.take_idle(self.key)
        if pooled is None and not fresh:
            working = asyncio.create_task(self._on_new_connection(request))
            try:
                if (pooled := await self._idle_instead(working)) is None:
                    return await working
            finally:
                working.cancel()
        if pooled is not None:
            with suppress(ClosedWithoutResponse):
                # If the server had closed a kept connection before, that says nothing about it (RFC 9112 9.3.1).
                return await self._on(pooled, request)
        return await self._on_new_connection(request, fresh=fresh)

    async def _idle_instead(self, working: asyncio.Task[Response]) -> PooledConnection | None:
        """An idle connection, if `working`, a request on a new connection, gets no response; None if it ends.

        If a server has fewer workers than there are connections, it does not read from some of them until others are
        closed. The request is then sent on one that was read from.
        """
        # Where heads are known to take long, the timeout is twice that: such a request has one and a half times that.
        is_patient = self.timeouts.head > self.pool.timeouts.head
        await asyncio.wait([working], timeout=0.75 * self.timeouts.head if is_patient else STARVED_AFTER)
        if working.done():
            return None
        return self.pool.take_idle(self.key) or await self.pool.take_idle_unless(self.key, working)

    async def _on_new_connection(self, request: Request, *, fresh: bool = False) -> Response:
        """The response to `request` on a connection that was not used yet, if there is no idle one; raises as
        `send`."""
        while True:
            pooled = await self.pool.take(self.key, fresh=fresh)
            try:
                return await self._on(pooled, request)
            except ClosedWithoutResponse as error:
                if not pooled.reused:
                    raise ConnectionFailed("closed the connection without an answer") from error

    async def _on(self, pooled: PooledConnection, request: Request) -> Response:
        try:
            acquired = await self._acquire_window(pooled, request)
            pooled.connection.send(request.encode())
            response = await self._receive_head(pooled, request, acquired)
            check_forwarded(request, self.key.route.proxies, response.head)
            return response
        except BaseException:
            pooled.discard()
            raise

    async def send_pipelined(self, request: Request) -> Response:
        """The response to `request`, which may be sent behind others on a connection; raises as `send`, and Unanswered
        where nothing is known about it."""
        policy, pipe = self.pool.pipelines.policy, self.pool.pipeline(self.key)
        behind = pipe.requests > 0
        turn = pipe.send(request.encode())
        try:
            connection = await turn
            connection.received, connection.allowance = 0, None  # the throttle counts by response
            pooled = PipelineTurn(self.pool, self.key, connection, pipe)
            response = await self._receive_head(pooled, request, 0, pipelined=behind)
        except BaseException as error:
            if turn.done() and not turn.cancelled() and turn.exception() is None:
                self.pool.pipelines.end(pipe)
            if isinstance(error, ClosedWithoutResponse):
                raise Unanswered from error
            if isinstance(error, ProtocolError) and behind:
                policy.stop()
                raise Unanswered from error
            raise
        if behind:
            policy.answered()
        return response

    async def _acquire_window(self, pooled: PooledConnection, request: Request) -> int:
        """Acquire what may arrive of the response before it is read; returns how many bytes."""
        length = request.end - request.start if request.end is not None else None
        window = pooled.window()
        return await self.key.throttle.acquire(window if length is None else min(window, length))

    async def _receive_head(
        self, pooled: PooledConnection, request: Request, acquired: int, *, pipelined: bool = False
    ) -> Response:
        """The response that is next on the connection."""
        clock, timeouts = asyncio.get_running_loop().time, self.timeouts
        parser, sent = HeadParser(), clock()
        try:
            async with asyncio.timeout(timeouts.head):
                while True:
                    data = await self._receive(pooled, parser)
                    head, used = parser.feed(data)
                    if head is not None:
                        break
        except TimeoutError:
            raise Stall(f"sent no complete response head within {timeouts.head:.0f} s") from None
        waited = clock() - sent
        self.key.throttle.observe_round_trip(waited)
        return Response(
            pooled,
            head,
            data[used:],
            timeouts,
            waited=waited,
            acquired=acquired,
            bodiless=request.method == "HEAD",
            pipelined=pipelined,
        )

    async def _receive(self, pooled: PooledConnection, parser: HeadParser) -> memoryview:
        try:
            data = await pooled.connection.take(1)
        except ConnectionFailed as error:
            # In TLS 1.3 a server verifies the client's certificate after the handshake has ended for the client.
            if isinstance(error.__cause__, ssl.SSLError):
                refused = server_certificate_error(self.key, error.__cause__)
                if refused is not None:
                    raise refused from error
            if parser.empty:
                raise ClosedWithoutResponse from error
            raise
        if not data:
            if parser.empty:
                raise ClosedWithoutResponse
            raise ConnectionFailed("closed the connection within the response head")
        return data
