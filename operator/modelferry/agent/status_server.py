"""A minimal HTTP server for the sidecar: one GET request and its response on each connection.

aiohttp.web would be ten lines, but it costs 20 MB (a measured RSS of 39.7 MB after its import, against 19.8 MB for
asyncio alone): half of the sidecar's memory limit.
"""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Callable, Mapping
from pathlib import Path

from modelferry.agent.checkpoint_rpc import remove_stale_socket
from modelferry.http.listening_socket import listening_socket
from modelferry.messages.exposition import CONTENT_TYPE

#: The limits of a request head in bytes and seconds. The API server's pod proxy adds a few hundred bytes to it.
_MAX_HEAD_SIZE = 32 * 1024
_REQUEST_TIMEOUT = 10.0
_REASONS = {200: "OK", 404: "Not Found", 405: "Method Not Allowed"}

METRICS = "/metrics"
_JSON = "application/json"

#: Returns the body of the response.
Handler = Callable[[], str]


class StatusServer:
    """Responds to GET on each path of `handlers` with what its handler returns: metrics at METRICS, else JSON."""

    def __init__(self, handlers: Mapping[str, Handler]) -> None:
        self._handlers = handlers
        self._server: asyncio.Server | None = None

    async def start(self, *, port: int | None = None, path: Path | None = None) -> None:
        """Listen on TCP `port` of all addresses, IPv6 and IPv4, or on a Unix socket at `path`."""
        if path is not None:
            remove_stale_socket(path)
            self._server = await asyncio.start_unix_server(self._serve, path, limit=_MAX_HEAD_SIZE)
        else:
            assert port is not None
            listener = listening_socket(port)
            self._server = await asyncio.start_server(self._serve, sock=listener, limit=_MAX_HEAD_SIZE)

    async def close(self) -> None:
        """Stop listening."""
        if self._server is not None:
            self._server.close()
            await self._server.wait_closed()

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        with contextlib.suppress(OSError, asyncio.IncompleteReadError, asyncio.LimitOverrunError, TimeoutError):
            async with asyncio.timeout(_REQUEST_TIMEOUT):
                head = await reader.readuntil(b"\r\n\r\n")
                writer.write(self._response_to(head.split(b"\r\n", 1)[0].decode("latin-1")))
                await writer.drain()
        writer.close()
        with contextlib.suppress(OSError):
            await writer.wait_closed()

    def _response_to(self, request_line: str) -> bytes:
        method, _, rest = request_line.partition(" ")
        path = rest.partition(" ")[0].partition("?")[0]
        handler = self._handlers.get(path)
        if method != "GET":
            return _response(405, '{"error":"only GET"}')
        if handler is None:
            return _response(404, '{"error":"no such path"}')
        return _response(200, handler(), CONTENT_TYPE if path == METRICS else _JSON)


def _response(status: int, text: str, content_type: str = _JSON) -> bytes:
    body = text.encode()
    head = (
        f"HTTP/1.1 {status} {_REASONS[status]}\r\nContent-Type: {content_type}\r\n"
        f"Content-Length: {len(body)}\r\nCache-Control: no-store\r\nConnection: close\r\n\r\n"
    )
    return head.encode() + body
