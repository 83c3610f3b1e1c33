"""Bandwidth limits with real sockets: the received bytes never exceed the tokens that were acquired."""

from __future__ import annotations

import asyncio
import socket
from collections.abc import Callable
from itertools import repeat

import pytest

from modelferry.checkpoint.local import LocalCheckpoint
from modelferry.engine.download.coordinator import DownloadCoordinator, Result, Settings
from modelferry.http.client import HTTPClient
from modelferry.http.routes import Route, Routes
from modelferry.http.tls.contexts import client_context
from modelferry.http.transport import throttle as module
from modelferry.http.transport.connection import Connection
from modelferry.http.transport.connection_key import Timeouts
from modelferry.http.transport.throttle import Throttle
from modelferry.manifest import FileEntry
from modelferry.manifest.entries import content_addressed
from network.harness import CHUNK, DownloadHarness, Serve, entry
from origin.rules import Rule

pytestmark = pytest.mark.usefixtures("small_chunks")


class CountingThrottle(Throttle):
    """Counts the tokens in ``acquired``, in bytes."""

    def __init__(self) -> None:
        super().__init__(connections=4)
        self.acquired = 0

    async def acquire(self, count: int) -> int:
        granted = await super().acquire(count)
        self.acquired += granted
        return granted


def coordinator_and_client(
    harness: DownloadHarness, throttle: Throttle, *files: FileEntry, progress_deadline: float = 5.0
) -> tuple[DownloadCoordinator, HTTPClient]:
    limits = Timeouts(connect=5.0, head=5.0, stall=2.0, floor=CHUNK)
    http_client = HTTPClient(Routes(Route(client_context(harness.ca_file))), limits, connections=4, throttle=throttle)
    settings = Settings(4, progress_deadline=progress_deadline)
    return DownloadCoordinator(
        content_addressed(files), LocalCheckpoint(harness.directory), http_client, settings
    ), http_client


async def eventually(condition: Callable[[], bool]) -> None:
    """Wait until `condition` is true."""
    async with asyncio.timeout(10):
        for _ in repeat(None):
            if condition():
                return
            await asyncio.sleep(0.001)


async def pulled(harness: DownloadHarness, throttle: Throttle, *files: FileEntry) -> Result:
    return await coordinator_and_client(harness, throttle, *files)[0].run()


async def test_each_response_byte_takes_one_token(serve: Serve, harness: DownloadHarness, data: bytes) -> None:
    throttle = CountingThrottle()
    throttle.set(4_000_000)
    async with serve({"a": data}) as origin:
        result = await pulled(harness, throttle, entry("a", data, origin.url("a")))
        assert origin.sent() == len(data)
    assert harness.read("a") == data
    assert result.retries == 0
    # A request acquires a receive window in advance, but never more than it requested.
    assert len(data) * 0.99 <= throttle.acquired <= len(data)


async def test_a_low_limit_is_no_stall_and_needs_no_retry(
    serve: Serve, harness: DownloadHarness, monkeypatch: pytest.MonkeyPatch
) -> None:
    # A floor of 32 KiB/s beside a limit of 16 KiB/s.
    monkeypatch.setattr(module, "_MIN_WINDOW", 8 << 10)
    content, throttle = bytes(40 << 10), CountingThrottle()
    throttle.set(16 << 10)
    async with serve({"a": content}) as origin:
        result = await pulled(harness, throttle, entry("a", content, origin.url("a")))
        assert len(origin.requests("a")) == 1
    assert result.retries == 0
    assert harness.read("a") == content


async def test_a_pause_closes_the_streams_which_resume_afterwards(
    serve: Serve, harness: DownloadHarness, data: bytes
) -> None:
    throttle = CountingThrottle()
    throttle.set(1_000_000)
    async with serve({"a": data}) as origin:
        coordinator, _ = coordinator_and_client(
            harness, throttle, entry("a", data, origin.url("a")), progress_deadline=0.2
        )
        running = asyncio.create_task(coordinator.run())
        await eventually(lambda: throttle.acquired >= CHUNK and bool(coordinator.telemetry().active))
        throttle.set(0, "until 18:00 (window daily 08:00-18:00 UTC)")
        await eventually(lambda: coordinator.telemetry().phase == "paused" and not coordinator.telemetry().active)
        telemetry, acquired = coordinator.telemetry(), throttle.acquired
        assert (telemetry.limit, telemetry.message) == (0, "until 18:00 (window daily 08:00-18:00 UTC)")
        for _ in range(40):  # longer than its progress deadline
            await asyncio.sleep(0.01)
        assert throttle.acquired == acquired
        throttle.set(None)
        await running
        assert origin.sent() < 2 * len(data)
    assert harness.read("a") == data
    assert coordinator.telemetry().limit is None


async def test_a_low_limit_uses_one_stream(serve: Serve, harness: DownloadHarness, data: bytes) -> None:
    throttle = CountingThrottle()
    async with serve({"a": data}) as origin:
        throttle.set(100_000)
        coordinator, http_client = coordinator_and_client(harness, throttle, entry("a", data, origin.url("a")))
        running = asyncio.create_task(coordinator.run())
        await eventually(lambda: throttle.acquired >= CHUNK)
        assert http_client.connections == 1
        throttle.set(None)
        await running
    assert harness.read("a") == data


async def test_no_more_is_read_from_a_socket_than_was_acquired() -> None:
    socket_, peer = socket.socketpair()
    with peer:
        connection = Connection(64 << 10, socket_)
        peer.sendall(bytes(10_000))
        connection.allowance = 0
        assert connection.ready(1) is None
        connection.allowance = 3000
        assert connection.ready(8000) is None
        assert (connection.received, connection.allowance) == (3000, 0)
        # More bytes wait, but reading them needs a new allowance.
        async with asyncio.timeout(5):
            await connection.more(8000)
        connection.allowance = None
        view = connection.ready(10_000)
        assert view is not None
        assert len(view) == 10_000
        connection.abort()


async def test_a_lower_limit_reduces_the_receive_windows_of_open_connections(
    serve: Serve, harness: DownloadHarness, data: bytes
) -> None:
    throttle = CountingThrottle()
    throttle.set(40_000_000)
    async with serve({"a": data}, rules=[Rule(rate=CHUNK, times=4)]) as origin:
        coordinator, http_client = coordinator_and_client(harness, throttle, entry("a", data, origin.url("a")))
        running = asyncio.create_task(coordinator.run())
        await eventually(lambda: http_client.connections == 4 and throttle.acquired >= 4 * CHUNK)
        before = receive_buffers(http_client)
        throttle.set(1_000_000)
        await eventually(lambda: max(receive_buffers(http_client), default=0) < min(before) // 4)
        throttle.set(None)
        await running
    assert harness.read("a") == data


def receive_buffers(http_client: HTTPClient) -> list[int]:
    """SO_RCVBUF of each open connection, as Linux reports it."""
    return [one._socket.getsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF) for one in http_client._pool.connections]
