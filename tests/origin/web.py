"""A small web server on loopback whose response is a function of the request, with a log of the requests."""

from __future__ import annotations

import asyncio
import re
import ssl
import threading
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Self
from urllib.parse import unquote

from aiohttp import web

_RANGE = re.compile(r"bytes=(\d+)-(\d*)")


@dataclass(frozen=True, slots=True)
class WebRequest:
    """A request: ``path`` percent-encoded as sent; ``fields`` with lower-case names."""

    method: str
    path: str
    query: Mapping[str, str] = field(default_factory=dict)
    fields: Mapping[str, str] = field(default_factory=dict)

    @property
    def token(self) -> str:
        """The bearer token, or empty."""
        return self.fields.get("authorization", "").removeprefix("Bearer ")

    def match(self, pattern: str) -> tuple[str, ...] | None:
        """The groups of `pattern` in the path, decoded; None if it does not match."""
        found = re.fullmatch(pattern, self.path)
        return tuple(unquote(group or "") for group in found.groups()) if found else None


@dataclass(frozen=True, slots=True)
class Reply:
    """A response. Ranges of ``content`` are honored; ``status_200``: with status 200."""

    status: int = 200
    fields: Mapping[str, str] = field(default_factory=dict)
    content: bytes = b""
    status_200: bool = False


@dataclass(frozen=True, slots=True)
class LoggedRequest:
    """A request, the status of the response, and the bytes sent."""

    request: WebRequest
    status: int
    sent: int


class WebServer:
    """Sends what a subclass returns in `answer`. An asynchronous context manager; with `threaded` a synchronous one."""

    def __init__(self, *, tls: ssl.SSLContext | None = None, host: str = "127.0.0.1") -> None:
        self._tls, self._host = tls, host
        self._runner: web.AppRunner | None = None
        self._port = 0
        self.log: list[LoggedRequest] = []

    def answer(self, request: WebRequest) -> Reply:
        """The response to `request`."""
        raise NotImplementedError

    @property
    def base(self) -> str:
        """The server's URL, without a trailing slash."""
        return f"{'https' if self._tls else 'http'}://{self.authority}"

    @property
    def authority(self) -> str:
        """Host and port."""
        return f"{self._host}:{self._port}"

    async def __aenter__(self) -> Self:
        app = web.Application()
        app.router.add_route("*", "/{path:.*}", self._handle)
        # A client may close its connection at any time.
        self._runner = web.AppRunner(app, access_log=None, shutdown_timeout=0.1)
        await self._runner.setup()
        site = web.TCPSite(self._runner, self._host, 0, ssl_context=self._tls)
        await site.start()
        self._port = int(self._runner.addresses[0][1])
        return self

    async def __aexit__(self, *_: object) -> None:
        assert self._runner is not None
        await self._runner.cleanup()

    async def _handle(self, request: web.Request) -> web.Response:
        fields = {name.lower(): value for name, value in request.headers.items()}
        received = WebRequest(request.method, request.rel_url.raw_path, dict(request.query), fields)
        reply = _with_range(self.answer(received), fields.get("range", ""))
        body = b"" if request.method == "HEAD" else reply.content
        headers = dict(reply.fields)
        if request.method == "HEAD":
            headers.setdefault("Content-Length", str(len(reply.content)))
        self.log.append(LoggedRequest(received, reply.status, len(body)))
        return web.Response(status=reply.status, headers=headers, body=body)


def _with_range(reply: Reply, text: str) -> Reply:
    match = _RANGE.fullmatch(text)
    size = len(reply.content)
    if match is None or reply.status != 200:
        return reply
    start, end = int(match[1]), min(int(match[2]) + 1 if match[2] else size, size)
    if start >= size:
        return Reply(416, {"Content-Range": f"bytes */{size}"})
    fields = {**reply.fields, "Content-Range": f"bytes {start}-{end - 1}/{size}"}
    return Reply(200 if reply.status_200 else 206, fields, reply.content[start:end])


@contextmanager
def threaded(*servers: WebServer) -> Iterator[None]:
    """Run `servers` in a thread, for synchronous tests."""
    loop = asyncio.new_event_loop()
    thread = threading.Thread(target=loop.run_forever, daemon=True)
    thread.start()

    def run(step: str) -> None:
        for server in servers:
            work = server.__aenter__() if step == "start" else server.__aexit__()
            asyncio.run_coroutine_threadsafe(work, loop).result(90)

    try:
        run("start")
        yield
    finally:
        run("stop")
        loop.call_soon_threadsafe(loop.stop)
        thread.join()
        loop.close()
