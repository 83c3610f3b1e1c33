"""A server that cannot prove who it is gets no request."""

from __future__ import annotations

import asyncio
import socket
import ssl
from contextlib import suppress
from datetime import timedelta
from pathlib import Path

import pytest

from modelferry.errors import CertificateRefused
from network.world import World, entry
from origin.certs import Authority, Leaf
from origin.server import HostileOrigin


@pytest.mark.parametrize(
    ("kind", "reason"),
    [
        ("expired", "CertificateExpired"),
        ("not yet", "ClockSkew"),
        ("another host", "HostMismatch"),
        ("another authority", "UnknownAuthority"),
    ],
)
async def test_the_reason_is_told(tmp_path: Path, world: World, authority: Authority, kind: str, reason: str) -> None:
    day = timedelta(days=1)
    context = {
        "expired": lambda: authority.leaf("127.0.0.1", name="expired", begins=-2 * day, ends=-day).context(),
        "not yet": lambda: authority.leaf("127.0.0.1", name="early", begins=day, ends=2 * day).context(),
        "another host": lambda: authority.leaf("example.com", name="host").context(),
        "another authority": lambda: Authority(tmp_path, "other").leaf("127.0.0.1").context(),
    }[kind]()
    async with HostileOrigin({"a": b"secret"}, tls=context) as origin:
        with pytest.raises(CertificateRefused) as caught:
            await world.pull(entry("a", b"secret", origin.url("a")))
        assert not origin.entries
        assert origin.accepted <= 1
    assert caught.value.reason == reason
    assert caught.value.message.startswith("a: 127.0.0.1")
    assert not world.published


async def test_a_server_that_speaks_no_tls_is_told(world: World) -> None:
    def complain(_: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writer.write(b"HTTP/1.1 400 Bad Request\r\nConnection: close\r\n\r\n")
        writer.close()

    async with await asyncio.start_server(complain, "127.0.0.1", 0) as server:
        port = server.sockets[0].getsockname()[1]
        with pytest.raises(CertificateRefused, match="does not speak TLS on this port") as caught:
            await world.pull(entry("a", b"x", f"https://127.0.0.1:{port}/a"))
    assert caught.value.reason == "TLSVersion"


async def test_a_server_below_tls_1_3_is_told(world: World, leaf: Leaf) -> None:
    context = leaf.context()
    context.minimum_version = context.maximum_version = ssl.TLSVersion.TLSv1_2
    # A blocking server, because asyncio's closes without sending OpenSSL's alert.
    with socket.create_server(("127.0.0.1", 0)) as listener:
        answering = asyncio.create_task(asyncio.to_thread(_refuse_one, listener, context))
        with pytest.raises(CertificateRefused, match=r"no version of TLS that is allowed here") as caught:
            await world.pull(entry("a", b"x", f"https://127.0.0.1:{listener.getsockname()[1]}/a"))
        await answering
    assert caught.value.reason == "TLSVersion"


def _refuse_one(listener: socket.socket, context: ssl.SSLContext) -> None:
    connection, _ = listener.accept()
    with connection, suppress(ssl.SSLError):
        context.wrap_socket(connection, server_side=True).close()
