"""The sidecar's own small HTTP server: a GET, an answer, and goodbye.

aiohttp.web would do it in ten lines, but costs 20 MB (39.7 MB of RSS after its import alone, measured, against 19.8 for
asyncio): half of what the sidecar may use.
"""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Callable, Mapping
from pathlib import Path

from modelferry.agent.checkpoint_rpc import remove_stale
from modelferry.messages.exposition import CONTENT_TYPE

#: Bytes of a request head, and seconds for it: the API server's pod proxy adds a few hundred bytes of its own.
_MAX_HEAD = 32 * 1024
_DEADLINE = 10.0
_REASONS = {200: "OK", 404: "Not Found", 405: "Method Not Allowed"}

METRICS = "/metrics"
_JSON = "application/json"

Route = Callable[[], str]


class StatusServer:
    """Answers GET on each path of `routes` with what its function returns: metrics at METRICS, elsewhere a JSON
    text."""

    def __init__(self, routes: Mapping[str, Route]) -> None:
        self._routes = routes
        self._server: asyncio.Server | None = None

    async def start(self, *, port: int | None = None, path: Path | None = None) -> None:
        """Listen on TCP `port` of all addresses, or on a Unix socket at `path`."""
        if path is not None:
            remove_stale(path)
            self._server = await asyncio.start_unix_server(self._serve, path, limit=_MAX_HEAD)
        else:
            self._server = await asyncio.start_server(self._serve, None, port, limit=_MAX_HEAD)

    async def close(self) -> None:
        """Stop listening."""
        if self._server is not None:
            self._server.close()
            await self._server.wait_closed()

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        with contextlib.suppress(OSError, asyncio.IncompleteReadError, asyncio.LimitOverrunError, TimeoutError):
            async with asyncio.timeout(_DEADLINE):
                head = await reader.readuntil(b"\r\n\r\n")
                writer.write(self._answer(head.split(b"\r\n", 1)[0].decode("latin-1")))
                await writer.drain()
        writer.close()
        with contextlib.suppress(OSError):
            await writer.wait_closed()

    def _answer(self, request_line: str) -> bytes:
        method, _, rest = request_line.partition(" ")
        path = rest.partition(" ")[0].partition("?")[0]
        route = self._routes.get(path)
        if method != "GET":
            return _response(405, '{"error":"only GET"}')
        if route is None:
            return _response(404, '{"error":"no such path"}')
        return _response(200, route(), CONTENT_TYPE if path == METRICS else _JSON)


def _response(status: int, text: str, content_type: str = _JSON) -> bytes:
    body = text.encode()
    head = (
        f"HTTP/1.1 {status} {_REASONS[status]}\r\nContent-Type: {content_type}\r\n"
        f"Content-Length: {len(body)}\r\nCache-Control: no-store\r\nConnection: close\r\n\r\n"
    )
    return head.encode() + body
