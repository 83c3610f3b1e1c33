"""Small HTTP requests to a source: verified TLS, redirects by our rules, transient faults retried, faults named."""

from __future__ import annotations

import asyncio
import errno
import os
import re
import socket
import ssl
from collections.abc import Callable, Mapping
from contextlib import suppress
from dataclasses import dataclass, field
from http import HTTPStatus
from types import TracebackType
from urllib.parse import urljoin, urlsplit

import aiohttp
from yarl import URL

from modelferry import __version__
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
    UnknownHost,
)
from modelferry.http.auth.credentials import FORM, LONGEST_ANSWER, HeaderFields, Refusal, renewed
from modelferry.http.routes import Route
from modelferry.http.tls import contexts
from modelferry.http.transport.sockets import check_forwarded
from modelferry.http.wire.ratelimit import until_reset
from modelferry.sources.retry import Retry
from modelferry.sources.route_connector import RouteConnector
from modelferry.values.urls import ascii_url, redact_url, url_error

#: Requests in flight to all servers together: enough to hide the latency of 2,000 files, few enough to be welcome.
CONCURRENCY = 8

_MAX_REDIRECTS = 5
_STRONG_ETAG = re.compile(r'"[\x21\x23-\x7e\x80-\xff]{1,256}"')
#: Seconds; a Hub's quotas are counted over five minutes.
_LONGEST_WAIT_ASKED = 300.0
#: ``total`` bounds a server that drips its headers.
_TIMEOUT = aiohttp.ClientTimeout(total=30)
#: Seconds for a connection, with the proxy and TLS on its way.
_PATIENCE = 10.0
#: A body that the connection is kept for; anything longer is cheaper to close than to read.
_SHORT_BODY = 1024


@dataclass(frozen=True, slots=True)
class Head:
    """What a server answered before the body, after redirects. ``headers`` has lower-case names."""

    status: int
    headers: Mapping[str, str]
    url: str

    @property
    def validator(self) -> str:
        """The ETag, where it is a strong one of usual length (RFC 9110 section 8.8.3); else empty."""
        etag = self.headers.get("etag", "")
        return etag if _STRONG_ETAG.fullmatch(etag) else ""

    def __str__(self) -> str:
        try:
            return f"{self.status} {HTTPStatus(self.status).phrase}"
        except ValueError:
            return str(self.status)


#: What a source makes of an answer of 300 and more by its own protocol; None where it has nothing to say.
Explain = Callable[[Head, bytes], ModelferryError | None]


@dataclass(frozen=True, slots=True)
class _Wanted:
    """One request, wherever it is redirected to. ``limit``: bytes of the body; None: nobody wants it."""

    file: str
    headers: Mapping[str, str] = field(default_factory=dict)
    limit: int | None = None
    method: str = "GET"
    explain: Explain = lambda head, body: None
    form: bytes = field(default=b"", repr=False)


class SourceClient:
    """An async context manager over one session; at most `CONCURRENCY` requests run at a time."""

    def __init__(self, route: Route, *, allow_plain_http: bool = False, retry: Retry | None = None) -> None:
        self._route, self._allow_plain_http = route, allow_plain_http
        self._retry = retry or Retry()
        self._slots = asyncio.Semaphore(CONCURRENCY)

    async def __aenter__(self) -> SourceClient:
        self._connector = RouteConnector(self._route, limit=CONCURRENCY, progress_deadline=_PATIENCE)
        self._session = aiohttp.ClientSession(
            connector=self._connector,
            headers={"Accept-Encoding": "identity", "User-Agent": f"modelferry/{__version__}"},
            timeout=_TIMEOUT,
            cookie_jar=aiohttp.DummyCookieJar(),
            auto_decompress=False,
        )
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self._session.close()

    async def head(
        self,
        url: str,
        file: str,
        headers: Mapping[str, str] | None = None,
        *,
        method: str = "GET",
        explain: Explain = lambda head, body: None,
    ) -> Head:
        """The head of the answer to a GET (or HEAD) of `url` on behalf of `file`; statuses below 400, and 416, are the
        caller's.

        Raises PlainHTTPRefused, NotFound, Denied, UnknownHost, CertificateRefused, ServerMisbehaves, SourceUnavailable,
        and what `explain` makes of the answer.
        """
        wanted = _Wanted(file, headers or {}, method=method, explain=explain)
        async with self._slots:
            head, _ = await self._retry.run(lambda: self._follow(ascii_url(url), wanted))
            return head

    async def get(
        self,
        url: str,
        file: str,
        *,
        limit: int,
        headers: Mapping[str, str] | None = None,
        explain: Explain = lambda head, body: None,
    ) -> tuple[Head, bytes]:
        """The answer to a GET of `url` on behalf of `file`, whole; raises as `head`, and ServerMisbehaves where it has
        more than `limit` bytes."""
        wanted = _Wanted(file, headers or {}, limit, explain=explain)
        async with self._slots:
            head, body = await self._retry.run(lambda: self._follow(ascii_url(url), wanted))
        announced = head.headers.get("content-length", "")
        if len(body) > limit or (announced.isdigit() and int(announced) > limit):
            raise ServerMisbehaves(f"{file}: {redact_url(url)}: longer than {limit} bytes; give another url", file=file)
        return head, body

    async def _follow(self, url: str, wanted: _Wanted) -> tuple[Head, bytes]:
        file = wanted.file
        for _ in range(_MAX_REDIRECTS + 1):
            self._check_scheme(url, file)
            head, body = await self._let_in(url, wanted)
            if head.status == 400 and (refusal := contexts.turned_away(_host(url), body, where=self._route.where)):
                raise _refused(refusal, url, file)
            if head.status >= 300 and (error := wanted.explain(head, body)):
                raise error
            if head.status not in (301, 302, 303, 307, 308):
                return _judged(head, file), body
            url = self._led(head, file)
        raise ServerMisbehaves(
            f"{file}: {redact_url(url)}: more than {_MAX_REDIRECTS} redirects; give the url that they lead to",
            file=file,
        )

    def _led(self, head: Head, file: str) -> str:
        """Where `head` redirects to."""
        target = _redirected(head, file)
        try:
            self._route.address_policy.check_redirect(_host(head.url), _host(target))
        except PrivateAddress as error:
            raise PrivateAddress(f"{file}: {redact_url(head.url)}: {error.message}", file=file) from None
        return target

    def _check_scheme(self, url: str, file: str) -> None:
        if not self._allow_plain_http and not url.lower().startswith("https:"):
            raise PlainHTTPRefused(
                f"{file}: {redact_url(url)} is not encrypted; use https://, "
                "or allow it with spec.transfer.tls.allowPlainHTTP: true",
                file=file,
            )

    async def _let_in(self, url: str, wanted: _Wanted) -> tuple[Head, bytes]:
        """The answer to one request, or to a second one where what is shown was renewed after a 401 or 403."""
        credential, carried = self._route.credential, tuple(wanted.headers.items())

        async def small(url: str, fields: HeaderFields, form: bytes) -> tuple[int, bytes]:
            self._check_scheme(url, wanted.file)
            method, kind = ("POST", {"Content-Type": FORM}) if form else ("GET", {})
            asked = _Wanted(wanted.file, kind, LONGEST_ANSWER, method, form=form)
            head, body = await self._ask(url, asked, fields)
            return head.status, body

        shown_to_it = await credential.headers(url, wanted.method, carried)
        head, body = await self._ask(url, wanted, shown_to_it)
        refusal = Refusal(url, head.headers.get("www-authenticate", ""), shown_to_it)
        if await renewed(credential, refusal, head.status, small):
            return await self._ask(url, wanted, await credential.headers(url, wanted.method, carried))
        return head, body

    async def _ask(self, url: str, wanted: _Wanted, fields: HeaderFields) -> tuple[Head, bytes]:
        """One request that carries `fields` besides, and its body as `_body` reads it."""
        try:
            # encoded=True: a signed URL is sent as it was signed, not as yarl would spell it.
            proxy = self._route.proxies.of(url)
            forwarder = proxy if proxy is not None and proxy.forwards(url) else None
            async with self._session.request(
                wanted.method,
                URL(url, encoded=True),
                headers={**wanted.headers, **dict(fields), **(dict(forwarder.fields) if forwarder else {})},
                data=wanted.form or None,
                allow_redirects=False,
                # To aiohttp `proxy` means the absolute form; the connection is the connector's in any case.
                proxy=URL(str(forwarder)) if forwarder else None,
            ) as response:
                if forwarder:
                    told = {name.lower(): value for name, value in response.headers.items()}
                    check_forwarded(url, forwarder, response.status, told)
                body = await _body(response, wanted.limit)
                names = {name.lower() for name in response.headers}
                # The first of a repeated header; the parser has refused repeated lengths before.
                return Head(response.status, {name: response.headers[name] for name in names}, url), body
        except (aiohttp.ClientError, TimeoutError, OSError) as error:
            if _cut_off(error) and url.startswith("https:") and (refusal := await self._complaint(url)):
                raise _refused(refusal, url, wanted.file) from error
            raise _named(error, url, wanted.file, self._route) from error
        except ConnectionFailed as error:
            raise ConnectionFailed(
                f"{wanted.file}: {redact_url(url)}: {error.message}", becomes=error.becomes, file=wanted.file
            ) from error
        except SourceError as error:
            message = f"{wanted.file}: {redact_url(url)}: {error.message}"
            raise type(error)(message, reason=error.reason, file=wanted.file) from error

    async def _complaint(self, url: str) -> CertificateRefused | None:
        """What the server of `url`, which broke a connection, says of our certificate."""
        with suppress(OSError, ModelferryError):
            if error := await self._connector.complaint(url):
                return contexts.refused(_host(url), error, where=self._route.where)
        return None


def _cut_off(error: Exception) -> bool:
    """Was a connection that stood already ended before there was an answer?"""
    if isinstance(error, aiohttp.ServerDisconnectedError):
        return True
    return isinstance(error, aiohttp.ClientOSError) and error.errno in (errno.ECONNRESET, errno.EPIPE)


async def _body(response: aiohttp.ClientResponse, limit: int | None) -> bytes:
    """At most `limit` bytes and one more; nothing of a body that is announced to be longer.

    With a limit of None nobody wants it, and it is read only where that keeps the connection at little cost.
    """
    announced = response.content_length
    if announced is None and limit is None:
        return b""
    most = _SHORT_BODY if limit is None else limit
    if announced is not None and announced > most:
        return b""
    body = bytearray()
    while len(body) <= most and (piece := await response.content.read(most + 1 - len(body))):
        body += piece
    return bytes(body)


def _redirected(head: Head, file: str) -> str:
    location = head.headers.get("location", "")
    try:
        target = ascii_url(urljoin(head.url, location)).replace(" ", "%20")
    except ValueError:
        target = ""
    if not location or not target or url_error(target):
        raise ServerMisbehaves(
            f"{file}: {redact_url(head.url)}: {head} without a usable Location; ask its operator, or give another url",
            file=file,
        )
    return target


def _judged(head: Head, file: str) -> Head:
    where = f"{file}: {redact_url(head.url)}: {head}"
    match head.status:
        case 404 | 410:
            raise NotFound(f"{where}; check the url, the file is not there", file=file)
        case 401 | 403:
            raise Denied(f"{where}; give the credential that it wants by spec.auth, or a presigned url", file=file)
        case 408 | 421 | 429:
            raise ServerBusy(where, retry_after=_wait_asked(head), file=file)
        case status if status >= 500:
            raise ServerBusy(where, retry_after=_wait_asked(head), file=file)
        case status if status >= 400 and status != 416:
            raise ServerMisbehaves(f"{where} to a plain GET of one byte; give another url", file=file)
    return head


def _wait_asked(head: Head) -> float | None:
    """Seconds in Retry-After or RateLimit, clamped; a date is left alone, for it would have us trust two clocks."""
    value = head.headers.get("retry-after", "")
    asked = float(value) if value.isascii() and value.isdigit() else until_reset(head.headers.get("ratelimit", ""))
    return None if asked is None else min(asked, _LONGEST_WAIT_ASKED)


def _host(url: str) -> str:
    return urlsplit(url).hostname or ""


def _refused(refusal: CertificateRefused, url: str, file: str) -> CertificateRefused:
    return CertificateRefused(f"{file}: {redact_url(url)}: {refusal.message}", reason=refusal.reason, file=file)


def _named(error: Exception, url: str, file: str, route: Route) -> ModelferryError:
    where = f"{file}: {redact_url(url)}"
    host, proxy = _host(url), route.proxies.of(url)
    # aiohttp wraps what the connector raised.
    cause = error.__cause__ if isinstance(error, aiohttp.ClientOSError) and error.__cause__ else error
    if isinstance(cause, socket.gaierror):
        if cause.errno == socket.EAI_AGAIN:
            message = f"{where}: the name server does not answer for {host}"
            return ConnectionFailed(message, becomes=UnknownHost, file=file)
        return UnknownHost(f"{where}: no such host {host}; check the url and this machine's name servers", file=file)
    if isinstance(cause, ssl.SSLError) and (refusal := contexts.refused(host, cause, where=route.where)):
        return _refused(refusal, url, file)
    if isinstance(error, aiohttp.ClientResponseError):
        return ServerMisbehaves(f"{where}: the answer is not HTTP: {error.message}; give another url", file=file)
    if isinstance(error, TimeoutError):
        by = f", by way of the proxy {proxy}" if proxy else ""
        return ConnectionFailed(f"{where}: no answer in time{by}", file=file)
    number = cause.errno if isinstance(cause, OSError) and not isinstance(cause, ssl.SSLError) else None
    return ConnectionFailed(f"{where}: {os.strerror(number) if number else 'the connection was lost'}", file=file)
