"""A server with few workers, each of which serves one connection until that is closed (Apache prefork, gunicorn)."""

from __future__ import annotations

import asyncio
import re
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import replace
from random import Random

import pytest

from modelferry.http.routes import Route
from modelferry.http.tls.contexts import client_context
from modelferry.http.transport.connection_key import Timeouts
from modelferry.sources.source_client import SourceClient
from network.harness import CHUNK, DownloadHarness, entry
from origin.listener import Listener

DATA = Random(5).randbytes(20 * CHUNK)
NAMES = [f"{number}.bin" for number in range(3)]


@asynccontextmanager
async def serving(workers: int) -> AsyncIterator[str]:
    """The URL of a server that keeps connections open for as long as clients want, and has so many `workers`."""
    free = asyncio.Semaphore(workers)

    async def accept(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            async with free:
                while True:
                    writer.write(response(await reader.readuntil(b"\r\n\r\n")))
                    await writer.drain()
        except (OSError, asyncio.IncompleteReadError, asyncio.CancelledError):
            pass
        finally:
            writer.close()

    async with Listener(accept) as listener:
        yield f"http://127.0.0.1:{listener.port}"


def response(request: bytes) -> bytes:
    """The content that `request` asks for."""
    if (match := re.search(rb"bytes=(\d+)-(\d+)", request)) is None:
        head, content = "200 OK", DATA
    else:
        start, end = int(match[1]), int(match[2]) + 1
        head, content = f"206 Partial Content\r\nContent-Range: bytes {start}-{end - 1}/{len(DATA)}", DATA[start:end]
    return f'HTTP/1.1 {head}\r\nETag: "x"\r\nContent-Length: {len(content)}\r\n\r\n'.encode() + content


@pytest.mark.usefixtures("small_chunks")
async def test_requests_that_no_worker_reads_are_sent_on_the_connections_that_have_one(
    harness: DownloadHarness, monkeypatch: pytest.MonkeyPatch
) -> None:
    """tuna#178: a download waited for its own idle connections until the server closed them."""
    monkeypatch.setattr("modelferry.http.exchange.STARVED_AFTER", 0.1)
    patient = Timeouts(connect=60.0, head=60.0, stall=60.0, floor=1)
    plain = replace(harness, connections=8, allow_plain_http=True, progress_deadline=120.0, limits=patient)
    async with serving(workers=2) as url:
        async with asyncio.timeout(30.0):
            await plain.pull(*(entry(name, DATA, f"{url}/{name}") for name in NAMES))
    assert all(plain.read(name) == DATA for name in NAMES)


async def test_an_idle_connection_does_not_keep_a_worker_from_other_clients(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("modelferry.http.transport.idle_connections.IDLE_TIMEOUT", 0.1)
    route = Route(client_context())
    async with (
        serving(workers=1) as url,
        SourceClient(route, allow_plain_http=True) as first,
        SourceClient(route, allow_plain_http=True) as second,
    ):
        await first.get(f"{url}/a", "a", limit=len(DATA))
        async with asyncio.timeout(10.0):
            assert (await second.get(f"{url}/a", "a", limit=len(DATA)))[1] == DATA
