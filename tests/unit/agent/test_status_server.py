"""The sidecar's HTTP server, asked over a real socket."""

from __future__ import annotations

import asyncio
import socket
from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from modelferry.agent import status_server
from modelferry.agent.status_server import StatusServer
from modelferry.http.listening_socket import listening_socket


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


async def test_the_server_answers_on_ipv6_and_on_ipv4(monkeypatch: pytest.MonkeyPatch) -> None:
    """cilium/cilium#13165: a server that listens on 0.0.0.0 alone does not exist in an IPv6 cluster."""
    listener = listening_socket(0)
    monkeypatch.setattr(status_server, "listening_socket", lambda port: listener)
    server = StatusServer({"/healthz": lambda: '{"ok":true}'})
    await server.start(port=0)
    for host in ("127.0.0.1", "::1") if socket.has_dualstack_ipv6() else ("127.0.0.1",):
        reader, writer = await asyncio.open_connection(host, listener.getsockname()[1])
        writer.write(b"GET /healthz HTTP/1.1\r\n\r\n")
        assert (await reader.read()).endswith(b'{"ok":true}')
        writer.close()
        await writer.wait_closed()
    await server.close()
