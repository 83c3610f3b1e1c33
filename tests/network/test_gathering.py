"""What a connection waits for in the kernel: not for single packets, and never for more than is sure to come."""

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


@asynccontextmanager
async def sending(random: Random, context: ssl.SSLContext) -> AsyncIterator[int]:
    """A server that sends as many bytes as each line asks for, in records and packets of every size; gives its port."""

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

    async with await asyncio.start_server(serve, "127.0.0.1", 0, ssl=context) as server:
        port = server.sockets[0].getsockname()[1]

        async def relay(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
            far, there = await asyncio.open_connection("127.0.0.1", port)
            await asyncio.gather(passed(reader, there, random), passed(far, writer, random))

        async with await asyncio.start_server(relay, "127.0.0.1", 0) as between:
            yield between.sockets[0].getsockname()[1]


async def passed(reader: asyncio.StreamReader, writer: asyncio.StreamWriter, random: Random) -> None:
    """Pass everything on in packets that end anywhere within a record."""
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
async def test_whatever_the_records_are_nothing_is_waited_for_that_does_not_come(
    tmp_path: Path, size: int, version: ssl.TLSVersion
) -> None:
    random, authority = Random(size), Authority(tmp_path)
    theirs = authority.leaf("127.0.0.1").context()
    theirs.minimum_version = ssl.TLSVersion.TLSv1_2
    ours = ssl.create_default_context(cafile=authority.ca_file)
    ours.maximum_version = version
    async with sending(random, theirs) as port:
        connection = TLSConnection(size, socket.create_connection(("127.0.0.1", port)), ours, "127.0.0.1")
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


async def test_the_kernel_tells_of_what_is_missing_and_of_each_byte_under_a_limit() -> None:
    with socket.create_server(("127.0.0.1", 0)) as server:
        near = socket.create_connection(server.getsockname())
        far, _ = server.accept()

    def told_at() -> int:
        return near.getsockopt(socket.SOL_SOCKET, socket.SO_RCVLOWAT)

    connection = Connection(64 * 1024, near)
    with far:
        taken = asyncio.create_task(connection.take(20_000))
        await asyncio.sleep(0)
        assert told_at() == 20_000
        far.sendall(bytes(20_000))
        assert len(await taken) == 20_000
        far.sendall(bytes(5_000))
        connection.allowance = 7_000
        limited = asyncio.create_task(connection.more(7_000))
        await asyncio.sleep(0)
        assert told_at() == 1
        far.sendall(bytes(2_000))
        await limited
    connection.abort()
