"""The sidecar's HTTP server, asked over a real socket."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from modelferry.agent.status_server import StatusServer


@pytest.fixture
async def server(tmp_path: Path) -> AsyncIterator[Path]:
    """The socket that it listens on."""
    server = StatusServer({"/v1/progress": lambda: '{"phase":"fetching"}'})
    await server.start(path=tmp_path / "s")
    yield tmp_path / "s"
    await server.close()


async def ask(server: Path, request: bytes) -> tuple[str, str]:
    """The status line and the body of the answer."""
    reader, writer = await asyncio.open_unix_connection(server)
    writer.write(request)
    head, _, body = (await reader.read()).decode().partition("\r\n\r\n")
    writer.close()
    await writer.wait_closed()
    return head.partition("\r\n")[0], body


@pytest.mark.parametrize(
    ("request_line", "status", "body"),
    [
        (b"GET /v1/progress HTTP/1.1", "HTTP/1.1 200 OK", '{"phase":"fetching"}'),
        (b"GET /v1/progress?x=1 HTTP/1.1", "HTTP/1.1 200 OK", '{"phase":"fetching"}'),
        (b"GET /etc/passwd HTTP/1.1", "HTTP/1.1 404 Not Found", '{"error":"no such path"}'),
        (b"POST /v1/progress HTTP/1.1", "HTTP/1.1 405 Method Not Allowed", '{"error":"only GET"}'),
        (b"\xff\xfe", "HTTP/1.1 405 Method Not Allowed", '{"error":"only GET"}'),
    ],
)
async def test_answers(server: Path, request_line: bytes, status: str, body: str) -> None:
    assert await ask(server, request_line + b"\r\nHost: x\r\n\r\n") == (status, body)


async def test_an_endless_request_is_hung_up_on(server: Path) -> None:
    assert await ask(server, b"GET /" + b"x" * 70_000 + b"\r\n\r\n") == ("", "")
