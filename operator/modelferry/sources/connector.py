"""aiohttp's pool over connections that `net.reach` makes: no request of a source has another way out than the bytes."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable

from aiohttp import BaseConnector, ClientRequest, ClientTimeout
from aiohttp.client_proto import ResponseHandler
from aiohttp.tracing import Trace

from modelferry.net.reach import reach
from modelferry.net.ways import Way


class WayConnector(BaseConnector):
    """At most `limit` connections, each of them on `way`, made within `patience` seconds."""

    def __init__(self, way: Way, *, limit: int, patience: float) -> None:
        super().__init__(limit=limit)
        self._way, self._patience = way, patience

    def _protocol(self) -> ResponseHandler:
        return ResponseHandler(asyncio.get_running_loop())

    def close(self, *, abort_ssl: bool = False) -> Awaitable[None]:
        """Close all without waiting for the servers' leave."""
        return super().close(abort_ssl=True)

    async def _create_connection(
        self, req: ClientRequest, traces: list[Trace], timeout: ClientTimeout
    ) -> ResponseHandler:
        """What aiohttp's own connectors override. Raises OSError (of the socket, the name or TLS), TimeoutError, and
        what `reach` says of a proxy."""
        url, host = str(req.url.origin()), req.url.raw_host
        context = self._way.context if req.url.scheme == "https" else None
        async with asyncio.timeout(self._patience):
            stream = await reach(url, self._way.proxies, self._patience, self._way.territory)
            try:
                _, protocol = await asyncio.get_running_loop().create_connection(
                    self._protocol, sock=stream, ssl=context, server_hostname=host if context else None
                )
            except BaseException:
                stream.close()
                raise
        return protocol
