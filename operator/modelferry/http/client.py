"""The HTTP client of engine and sources: credentials, presigned URLs, redirects and plain http, over a pool."""

from __future__ import annotations

import asyncio
import ssl
from dataclasses import replace
from functools import partial

from modelferry.errors import CertificateRefused, ConnectionFailed, ModelferryError, PlainHTTPRefused
from modelferry.http.auth.credentials import MAX_RESPONSE, HeaderFields, Rejection, renewed
from modelferry.http.exchange import Exchange
from modelferry.http.routes import Routes
from modelferry.http.tls.contexts import client_certificate_error
from modelferry.http.transport.connect_errors import server_certificate_error
from modelferry.http.transport.connection_key import ConnectionKey, Timeouts
from modelferry.http.transport.connection_pool import ConnectionPool, ConnectObserver
from modelferry.http.transport.response import Response
from modelferry.http.transport.throttle import Throttle
from modelferry.http.wire import Origin, Request
from modelferry.manifest.entries import SOURCE
from modelferry.values.spec_lines import ALLOW_PLAIN_HTTP
from modelferry.values.urls import redact_url

#: What servers are given where the caller says nothing else.
_TIMEOUTS = Timeouts()
#: Seconds in which a server may send an alert about the client's certificate.
_ALERT_TIMEOUT = 2.0


class HTTPClient:
    """Sends requests to the servers of any mirror, each by its route, and keeps connections for the next requests."""

    def __init__(
        self,
        routes: Routes,
        timeouts: Timeouts = _TIMEOUTS,
        *,
        connections: int = 16,
        throttle: Throttle | None = None,
        allow_plain_http: bool = True,
        pool: ConnectionPool | None = None,
    ) -> None:
        """`routes`: how each mirror is reached. `connections`: how many there will be at most, which share the memory.
        `throttle`: limits what they receive together, and from each mirror. `allow_plain_http`: whether a URL may be
        http://. `pool`: opens and keeps the connections."""
        self.throttle = throttle or Throttle(connections)
        self._routes = routes
        self._allow_plain_http = allow_plain_http
        self._pool = pool or ConnectionPool(timeouts, connections=connections)

    @property
    def connections(self) -> int:
        """How many are open."""
        return len(self._pool.connections)

    def observe_connections(self, observer: ConnectObserver) -> None:
        """Call `observer` for each connection that is established."""
        self._pool.observers.append(observer)

    @property
    def timeouts(self) -> Timeouts:
        """What servers are given, unless a request says otherwise."""
        return self._pool.timeouts

    async def send(
        self,
        request: Request,
        mirror: str = SOURCE,
        *,
        fresh_connection: bool = False,
        pipelined: bool = False,
        timeouts: Timeouts | None = None,
    ) -> Response:
        """Send `request` to a server of `mirror`, with the credential for its URL, and wait for the head of the
        response; once more if the credential was renewed after a 401 or 403. ``pipelined``: it may share a connection.
        ``timeouts``: for the head and the body of this response. The caller closes the response.

        Raises ConnectionFailed, Stall (no head in time), UnknownHost, CertificateRefused, PlainHTTPRefused,
        PrivateAddress, ProxyDenied, ProxyRefused; what the credential raises; ProtocolError where what arrived is no
        response; Unanswered, where it was sent behind others and nothing is known about it.
        """
        key = self._key(request.url, mirror)
        credential, exchange = key.route.credential, Exchange(self._pool, key, timeouts or self.timeouts)
        fields = await credential.headers(request.url, request.method, request.fields)
        authorized = replace(request, credential=fields)
        if pipelined:
            response = await exchange.send_pipelined(authorized)
        else:
            response = await exchange.send(authorized, fresh=fresh_connection)
        try:
            await self._check_client_certificate(key, response)
            rejection = Rejection(request.url, response.head.get("www-authenticate") or "", fields)
            if not await renewed(credential, rejection, response.head.status, partial(self._send_for_credential, key)):
                return response
        except BaseException:
            response.close()
            raise
        response.close()
        fields = await credential.headers(request.url, request.method, request.fields)
        return await exchange.send(replace(request, credential=fields))

    async def presigned_url(self, url: str, mirror: str) -> str:
        """The URL to request for the location `url` of `mirror`: `url` itself, where the mirror has no presigned URLs.
        Raises ConnectionFailed where there is none at the moment."""
        presigner = self._routes.for_mirror(mirror).presigner
        try:
            return await presigner.url(url) if presigner is not None else url
        except (KeyError, OSError, ModelferryError) as error:
            raise ConnectionFailed("has no presigned URL in its Secret at the moment") from error

    def check_redirect(self, url: str, to: str, mirror: str = SOURCE) -> None:
        """A server of `mirror` redirects from `url` to `to`. Raises PrivateAddress where it may not."""
        self._routes.for_mirror(mirror).address_policy.check_redirect(Origin.of(url).host, Origin.of(to).host)

    async def certificate_alert(self, url: str, mirror: str = SOURCE) -> CertificateRefused | None:
        """What the server of `url` (https) reports about the client's certificate to a connection that sends nothing;
        None where it reports nothing. Raises as `send`.

        In TLS 1.3 a server verifies it after the handshake has ended for the client. Where it closes the connection
        with the request unread, a reset may overtake its alert.
        """
        key = self._key(url, mirror)
        connection = await self._pool.connect(key)
        try:
            async with asyncio.timeout(_ALERT_TIMEOUT):
                await connection.take(1)
        except ConnectionFailed as error:
            cause = error.__cause__
            return server_certificate_error(key, cause) if isinstance(cause, ssl.SSLError) else None
        except TimeoutError:
            pass
        finally:
            self._pool.discard(connection)
        return None

    def can_pipeline(self, url: str, mirror: str) -> bool:
        """Whether requests for `url` may share a connection."""
        return self._pool.pipelines.allows(self._key(url, mirror))

    def stop_pipelining(self) -> None:
        """Never pipeline again: a response did not fit its request."""
        self._pool.pipelines.policy.stop()

    def pipelined_connections(self, origin: Origin) -> int:
        """How many connections to `origin` pipelined requests share."""
        return self._pool.pipelines.count(origin)

    def preconnect(self, url: str, mirror: str, count: int) -> None:
        """Begin to open `count` connections to the server of `url`, for requests that are to follow."""
        self._pool.preconnect(self._key(url, mirror), count)

    async def close(self) -> None:
        """Close every connection."""
        await self._pool.close()

    async def _check_client_certificate(self, key: ConnectionKey, response: Response) -> None:
        """Raise CertificateRefused where `response` is a page that asks for a client certificate, or refuses it."""
        if response.head.status == 400 and key.origin.scheme == "https":
            page = await response.read(MAX_RESPONSE)
            if error := client_certificate_error(key.origin.authority, page, field=key.route.tls_field):
                raise error

    async def _send_for_credential(
        self, beside: ConnectionKey, url: str, fields: HeaderFields, form: bytes
    ) -> tuple[int, bytes]:
        """`SendRequest`, by the route of `beside`."""
        self._check_scheme(url)
        key = replace(beside, origin=Origin.of(url))
        request = Request(url, method="POST" if form else "GET", fields=fields, form=form)
        try:
            response = await Exchange(self._pool, key, self.timeouts).send(request)
            try:
                return response.head.status, (await response.read(MAX_RESPONSE))[:MAX_RESPONSE]
            finally:
                response.close()
        except ConnectionFailed as error:
            raise ConnectionFailed(
                f"{redact_url(url)} {error.message}", persistent_error=error.persistent_error
            ) from error

    def _key(self, url: str, mirror: str) -> ConnectionKey:
        self._check_scheme(url)
        return ConnectionKey(Origin.of(url), self._routes.for_mirror(mirror), self.throttle.for_mirror(mirror))

    def _check_scheme(self, url: str) -> None:
        if not self._allow_plain_http and Origin.of(url).scheme != "https":
            raise PlainHTTPRefused(f"{redact_url(url)} is not encrypted; use https://, or {ALLOW_PLAIN_HTTP}")
