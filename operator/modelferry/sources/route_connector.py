"""aiohttp's pool over connections that `net.reach` makes: no request of a source has another way out than the bytes."""

from __future__ import annotations

import asyncio
import ssl
from collections.abc import Awaitable, Callable
from typing import TypeVar
from urllib.parse import urlsplit

from aiohttp import BaseConnector, ClientRequest, ClientTimeout
from aiohttp.client_proto import ResponseHandler
from aiohttp.tracing import Trace

from modelferry.http.routes import Route
from modelferry.http.transport.sockets import open_socket

#: Seconds for which a server is listened to that may have something to say of our certificate.
_LISTEN = 2.0

Made = TypeVar("Made", bound=asyncio.BaseProtocol)


class RouteConnector(BaseConnector):
    """At most `limit` connections, each of them on `route`, made within `progress_deadline` seconds."""

    def __init__(self, route: Route, *, limit: int, progress_deadline: float) -> None:
        super().__init__(limit=limit)
        self._route, self._patience = route, progress_deadline

    def _protocol(self) -> ResponseHandler:
        return ResponseHandler(asyncio.get_running_loop())

    def close(self, *, abort_ssl: bool = False) -> Awaitable[None]:
        """Close all without waiting for the servers' leave."""
        return super().close(abort_ssl=True)

    async def _create_connection(
        self, req: ClientRequest, traces: list[Trace], timeout: ClientTimeout
    ) -> ResponseHandler:
        """What aiohttp's own connectors override. Raises OSError (of the socket, the name or TLS), TimeoutError, and
        what `open_socket` says of a proxy."""
        _, protocol = await self._connected(str(req.url.origin()), self._protocol)
        return protocol

    async def complaint(self, url: str) -> ssl.SSLError | None:
        """What the server of `url` (https) says by TLS to one who connects and asks nothing; None for nothing.

        By TLS 1.3 a server judges our certificate when the handshake has ended for us. Its alert is lost to asyncio
        where the request that follows can no longer be written. Raises as `_create_connection`.
        """
        reader = asyncio.StreamReader()
        transport, _ = await self._connected(url, lambda: asyncio.StreamReaderProtocol(reader))
        try:
            async with asyncio.timeout(_LISTEN):
                await reader.read(1)
        except ssl.SSLError as error:
            return error
        except (OSError, TimeoutError):
            pass
        finally:
            transport.abort()
        return None

    async def _connected(self, url: str, make: Callable[[], Made]) -> tuple[asyncio.Transport, Made]:
        """A connection to the server of `url`, with the protocol that `make` makes."""
        parts = urlsplit(url)
        context = self._route.trust(url) if parts.scheme == "https" else None
        async with asyncio.timeout(self._patience):
            stream = await open_socket(url, self._route.proxies, self._patience, self._route.address_policy)
            try:
                return await asyncio.get_running_loop().create_connection(
                    make, sock=stream, ssl=context, server_hostname=parts.hostname if context else None
                )
            except BaseException:
                stream.close()
                raise
