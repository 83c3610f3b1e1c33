"""SO_RCVLOWAT: a connection wakes up for the bytes that it needs, not for each packet, and never waits for too many."""

from __future__ import annotations

import asyncio
import socket
import ssl
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from random import Random

import pytest

from modelferry.http.transport.connection import Connection
from modelferry.http.transport.tls_connection import TLSConnection
from origin.certs import Authority
from origin.listener import Listener


@asynccontextmanager
async def sending(random: Random, context: ssl.SSLContext) -> AsyncIterator[int]:
    """The port of a server that sends as many bytes as each line requests, in records and packets of any size."""

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            while line := await reader.readline():
                left = int(line)
                while left:
                    piece = min(left, random.choice([1, 100, 1448, 5000, 16384, 40000, 100_000]))
                    writer.write(bytes(piece))
                    left -= piece
                    if random.random() < 0.3:
                        await writer.drain()
                        await asyncio.sleep(0)
        except ConnectionError:
            pass
        finally:
            writer.close()

    async with Listener(serve, tls=context) as server:

        async def relay(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
            from_server, to_server = await asyncio.open_connection("127.0.0.1", server.port)
            await asyncio.gather(forward(reader, to_server, random), forward(from_server, writer, random))

        async with Listener(relay) as proxy:
            yield proxy.port


async def forward(reader: asyncio.StreamReader, writer: asyncio.StreamWriter, random: Random) -> None:
    """Forward everything in packets that end anywhere within a record."""
    writer.transport.set_write_buffer_limits(0)
    try:
        while data := await reader.read(random.randrange(1, 20_000)):
            writer.write(data)
            await writer.drain()
            for _ in range(random.choice([0, 0, 50])):
                await asyncio.sleep(0)
    except ConnectionError:
        pass
    finally:
        writer.close()


@pytest.mark.parametrize("size", [16 * 1024, 52_000, 256 * 1024])
@pytest.mark.parametrize("version", [ssl.TLSVersion.TLSv1_2, ssl.TLSVersion.TLSv1_3])
async def test_a_connection_never_waits_for_bytes_that_will_not_arrive(
    tmp_path: Path, size: int, version: ssl.TLSVersion
) -> None:
    random, authority = Random(size), Authority(tmp_path)
    server_context = authority.leaf("127.0.0.1").context()
    server_context.minimum_version = ssl.TLSVersion.TLSv1_2
    client_context = ssl.create_default_context(cafile=authority.ca_file)
    client_context.maximum_version = version
    async with sending(random, server_context) as port:
        connection = TLSConnection(size, socket.create_connection(("127.0.0.1", port)), client_context, "127.0.0.1")
        await connection.handshake()
        for _ in range(60):
            left = random.randrange(1, 300_000)
            connection.send(b"%d\n" % left)
            while left:
                wanted = min(left, 64 * 1024, random.randrange(1, size + 1))
                async with asyncio.timeout(20):
                    left -= len(await connection.take(wanted))
            assert left == 0
            assert connection.is_idle()
        connection.abort()


async def test_the_kernel_wakes_for_the_missing_bytes_and_for_each_byte_under_a_limit() -> None:
    with socket.create_server(("127.0.0.1", 0)) as server:
        near = socket.create_connection(server.getsockname())
        far, _ = server.accept()

    def low_water_mark() -> int:
        return near.getsockopt(socket.SOL_SOCKET, socket.SO_RCVLOWAT)

    connection = Connection(64 * 1024, near)
    with far:
        complete = asyncio.create_task(connection.take(20_000))
        await asyncio.sleep(0)
        assert low_water_mark() == 20_000
        far.sendall(bytes(20_000))
        assert len(await complete) == 20_000
        far.sendall(bytes(5_000))
        connection.allowance = 7_000
        limited = asyncio.create_task(connection.more(7_000))
        await asyncio.sleep(0)
        assert low_water_mark() == 1
        far.sendall(bytes(2_000))
        await limited
    connection.abort()
