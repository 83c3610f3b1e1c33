"""Small HTTP requests to a source: redirects followed, transient failures retried, errors named with file and URL."""

from __future__ import annotations

import asyncio
import os
import socket
import ssl
from collections.abc import Callable, Mapping
from contextlib import aclosing, suppress
from dataclasses import dataclass, field
from http import HTTPStatus
from types import TracebackType
from urllib.parse import urlsplit

from modelferry.errors import (
    CertificateRefused,
    ConnectionFailed,
    Denied,
    ModelferryError,
    NotFound,
    PlainHTTPRefused,
    PrivateAddress,
    ServerBusy,
    ServerMisbehaves,
    SourceError,
    SourceUnavailable,
    Stall,
    UnknownHost,
)
from modelferry.http import wire
from modelferry.http.auth.credentials import ANONYMOUS
from modelferry.http.client import HTTPClient
from modelferry.http.exchange import ClosedWithoutResponse
from modelferry.http.routes import Route, Routes
from modelferry.http.transport.connection_key import Timeouts
from modelferry.http.transport.connection_pool import ConnectionPool
from modelferry.http.transport.response import Response
from modelferry.http.wire import ProtocolError, Request
from modelferry.http.wire.fields import content_length, retry_after, version_mark
from modelferry.http.wire.redirects import MAX_REDIRECTS, REDIRECTS, redirect_target
from modelferry.sources.retry import Retry
from modelferry.values.spec_lines import ADD_TOKEN, add_auth
from modelferry.values.urls import ascii_url, redact_url

#: Requests in flight to all servers together: enough to hide the latency of 2,000 files, few enough for any server.
CONCURRENCY = 8

#: A response may take as long as it makes progress: one that does not is requested again, and gets twice the time.
_TIMEOUTS = Timeouts(connect=10.0, floor=1)
#: Seconds for one response, at least: one byte now and then is no progress.
_MAX_SECONDS = 600.0
#: Bytes of a body that is read to reuse the connection; to close it is cheaper than to read more.
_SHORT_BODY = 1024


@dataclass(frozen=True, slots=True)
class Head:
    """A response without its body, after redirects. ``headers`` has lower-case names, and of each all values
    as one list, as the engine reads them."""

    status: int
    headers: Mapping[str, str]
    url: str

    @classmethod
    def of(cls, head: wire.Head, url: str) -> Head:
        """`head` of the response for `url`."""
        return cls(head.status, {name: head.get(name) or "" for name, _ in head.fields}, url)

    @property
    def version_mark(self) -> str:
        """What tells this version of the file from another, strong or not; empty if nothing does."""
        return version_mark(wire.Head(self.status, (1, 1), tuple(self.headers.items())))

    def __str__(self) -> str:
        try:
            return f"{self.status} {HTTPStatus(self.status).phrase}"
        except ValueError:
            return str(self.status)


#: What a response of 300 and more means in a source's own protocol; None where it means nothing special.
Explain = Callable[[Head, bytes], ModelferryError | None]


@dataclass(frozen=True, slots=True)
class _Call:
    """One request on behalf of ``file``, with its redirects. ``limit``: bytes of the body; None: it is not needed.
    ``partial``: the first ``limit`` bytes are enough."""

    file: str
    headers: Mapping[str, str] = field(default_factory=dict)
    limit: int | None = None
    partial: bool = False
    method: str = "GET"
    explain: Explain = lambda head, body: None


class SourceClient:
    """An async context manager over one HTTP client; at most `CONCURRENCY` requests run at a time."""

    def __init__(
        self,
        route: Route,
        *,
        allow_plain_http: bool = False,
        retry: Retry | None = None,
        timeouts: Timeouts = _TIMEOUTS,
    ) -> None:
        self._route = route
        self._retry = retry or Retry()
        self._most = max(_MAX_SECONDS, self._retry.budget)
        self._slots = asyncio.Semaphore(CONCURRENCY)
        self._http = HTTPClient(
            Routes(route),
            allow_plain_http=allow_plain_http,
            pool=ConnectionPool(timeouts, connections=CONCURRENCY, max_idle=CONCURRENCY),
        )

    async def __aenter__(self) -> SourceClient:
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self._http.close()

    async def head(
        self,
        url: str,
        file: str,
        headers: Mapping[str, str] | None = None,
        *,
        method: str = "GET",
        explain: Explain = lambda head, body: None,
    ) -> Head:
        """The head of the response to a GET (or HEAD) of `url` on behalf of `file`; the caller judges statuses below
        400, and 416.

        Raises PlainHTTPRefused, NotFound, Denied, UnknownHost, CertificateRefused, ServerMisbehaves, SourceUnavailable,
        and what `explain` returns.
        """
        head, _ = await self._run(url, _Call(file, headers or {}, method=method, explain=explain))
        return head

    async def peek(
        self,
        url: str,
        file: str,
        headers: Mapping[str, str] | None = None,
        *,
        size: int,
        explain: Explain = lambda head, body: None,
    ) -> tuple[Head, bytes]:
        """The response to a GET of `url` as `head` returns it, and the first `size` bytes of its body."""
        return await self._run(url, _Call(file, headers or {}, size, partial=True, explain=explain))

    async def get(
        self,
        url: str,
        file: str,
        *,
        limit: int,
        headers: Mapping[str, str] | None = None,
        explain: Explain = lambda head, body: None,
    ) -> tuple[Head, bytes]:
        """The response to a GET of `url` on behalf of `file`, with its body; raises as `head`, and ServerMisbehaves
        where the body has more than `limit` bytes."""
        head, body = await self._run(url, _Call(file, headers or {}, limit, explain=explain))
        announced = content_length(head.headers.get("content-length"))
        if len(body) > limit or (announced is not None and announced > limit):
            raise ServerMisbehaves(f"{file}: {redact_url(url)}: longer than {limit} bytes; give another url", file=file)
        return head, body

    async def _run(self, url: str, call: _Call) -> tuple[Head, bytes]:
        stalls = 0

        async def attempt() -> tuple[Head, bytes]:
            nonlocal stalls
            try:
                return await self._follow(
                    ascii_url(url), call, self._http.timeouts.extended(2.0**stalls, self._retry.budget)
                )
            except ConnectionFailed as error:
                stalls += isinstance(error.__cause__, Stall)
                raise

        async with self._slots:
            return await self._retry.run(attempt)

    async def _follow(self, url: str, call: _Call, timeouts: Timeouts) -> tuple[Head, bytes]:
        asks_for_cookie = False
        for _ in range(MAX_REDIRECTS + 1):
            head, body = await self._send(url, call, timeouts)
            if head.status >= 300 and (error := call.explain(head, body)):
                raise error
            if head.status not in REDIRECTS:
                return self._judged(head, call), body
            asks_for_cookie = asks_for_cookie or "set-cookie" in head.headers
            url = self._redirect(head, call.file)
        raise ServerMisbehaves(
            f"{call.file}: {redact_url(url)}: {_too_many_redirects(asks_for_cookie)}", file=call.file
        )

    def _judged(self, head: Head, call: _Call) -> Head:
        return _judged(head, call.file, anonymous=self._route.credential is ANONYMOUS)

    def _redirect(self, head: Head, file: str) -> str:
        """Where `head` redirects to."""
        where = f"{file}: {redact_url(head.url)}"
        target = redirect_target(head.url, head.headers.get("location"))
        if target is None:
            raise ServerMisbehaves(
                f"{where}: {head} without a usable Location; ask its operator, or give another url", file=file
            )
        try:
            self._http.check_redirect(head.url, target)
        except PrivateAddress as error:
            raise PrivateAddress(f"{where}: {error.message}", file=file) from None
        return target

    async def _send(self, url: str, call: _Call, timeouts: Timeouts) -> tuple[Head, bytes]:
        """The response to one request, and its body as `_read` reads it."""
        request = Request(url, method=call.method, fields=tuple(call.headers.items()))
        try:
            async with asyncio.timeout(self._most):
                response = await self._http.send(request, timeouts=timeouts)
                try:
                    body = await _read(response, call)
                finally:
                    response.close()
        except (ModelferryError, ProtocolError, TimeoutError) as error:
            if _cut_off(error) and url.startswith("https:") and (refused := await self._certificate_alert(url)):
                error = refused
            raise self._named(error, url, call.file, timeouts) from error
        return Head.of(response.head, url), body

    async def _certificate_alert(self, url: str) -> CertificateRefused | None:
        """What the server of `url`, which closed a connection, reports about the client's certificate."""
        with suppress(ModelferryError):
            return await self._http.certificate_alert(url)
        return None

    def _named(self, error: Exception, url: str, file: str, timeouts: Timeouts) -> ModelferryError:
        """`error` with the file and the URL that it is about."""
        where = f"{file}: {redact_url(url)}"
        cause = error.__cause__
        match error:
            case PlainHTTPRefused():
                return PlainHTTPRefused(f"{file}: {error.message}", file=file)
            case UnknownHost() if isinstance(cause, socket.gaierror):
                host = urlsplit(url).hostname
                if cause.errno == socket.EAI_AGAIN:
                    message = f"{where}: the name server does not answer for {host}"
                    return ConnectionFailed(message, persistent_error=UnknownHost, file=file)
                message = f"{where}: no such host {host}; check the url and this machine's name servers"
                return UnknownHost(message, file=file)
            case ConnectionFailed():
                system = isinstance(cause, OSError) and not isinstance(cause, ssl.SSLError) and cause.errno
                why = os.strerror(system) if system and error.persistent_error is SourceUnavailable else error.message
                return ConnectionFailed(f"{where}: {why}", persistent_error=error.persistent_error, file=file)
            case ProtocolError():
                message = f"{where}: the answer is not HTTP: it {error.message}; give another url"
                return ServerMisbehaves(message, file=file)
            case Stall() | TimeoutError():
                proxy = self._route.proxies.for_url(url)
                through = f", through the proxy {proxy}" if proxy else ""
                late = self._most if isinstance(error, TimeoutError) else timeouts.head
                return ConnectionFailed(f"{where}: no complete answer in {late:.0f} s{through}", file=file)
            case SourceError():
                return type(error)(f"{where}: {error.message}", reason=error.reason, file=file)
        assert isinstance(error, ModelferryError)
        return error


def _cut_off(error: Exception) -> bool:
    """Whether a connection was closed before there was a response."""
    lost = (ClosedWithoutResponse, ConnectionResetError, BrokenPipeError)
    return isinstance(error, ConnectionFailed) and isinstance(error.__cause__, lost)


async def _read(response: Response, call: _Call) -> bytes:
    """At most `call.limit` bytes of the body and one more; nothing of a body that is announced to be longer, unless
    `call.partial`.

    With a limit of None it is not needed, and is read only where that keeps the connection at little cost.
    """
    framing, limit = response.framing, call.limit
    if call.partial and limit is not None:
        start = bytearray()
        # What arrived is enough: whether the body is cut off is found out by the download.
        with suppress(ConnectionFailed):
            async with aclosing(response.body(limit)) as pieces:
                async for piece in pieces:
                    start += piece
        return bytes(start[:limit])
    most = _SHORT_BODY if limit is None else limit
    if framing.length > most or (limit is None and framing.kind != "length"):
        return b""
    return await response.read(most)


def _too_many_redirects(asks_for_cookie: bool) -> str:
    if not asks_for_cookie:
        return f"more than {MAX_REDIRECTS} redirects; give the url that they lead to"
    return (
        f"more than {MAX_REDIRECTS} redirects, which set a cookie: the server wants a browser, to sign in, to consent"
        f" or to prove that it is no robot; give a url that programs may request, or a credential: {ADD_TOKEN}"
    )


def _judged(head: Head, file: str, *, anonymous: bool) -> Head:
    where = f"{file}: {redact_url(head.url)}: {head}"
    match head.status:
        case 404 | 410:
            raise NotFound(f"{where}; check the url, the file is not there", file=file)
        case 401 | 403 if anonymous:
            remedy = f"{add_auth('token, or username and password,')}; or use spec.headers, or a presigned url"
            raise Denied(f"{where}; give the credential that it requires: {remedy}", file=file)
        case 401 | 403:
            raise Denied(f"{where}; correct the credential in the Secret of spec.auth, or give another url", file=file)
        case status if status in (408, 421, 429) or status >= 500:
            fields = tuple(head.headers.items())
            raise ServerBusy(where, retry_after=retry_after(wire.Head(status, (1, 1), fields)), file=file)
        case status if status >= 400 and status != 416:
            raise ServerMisbehaves(f"{where}: the server does not accept the request; give another url", file=file)
    return head
