"""Connecting to a name with several addresses (entry 50 of the catalogue)."""

from __future__ import annotations

import asyncio
import socket
import time
from collections.abc import Iterator

import pytest
from aiohappyeyeballs import AddrInfoType

from modelferry.http.transport import happy_eyeballs as module
from modelferry.http.transport.happy_eyeballs import STAGGER, connect_host

V4, V6 = socket.AF_INET, socket.AF_INET6

Address = tuple[int, tuple[object, ...]]


@pytest.fixture
def listener() -> Iterator[socket.socket]:
    with socket.create_server(("127.0.0.1", 0)) as listener:
        yield listener


def resolving_to(monkeypatch: pytest.MonkeyPatch, *addresses: Address) -> None:
    async def resolve(host: str, port: int) -> list[AddrInfoType]:
        return [(family, socket.SOCK_STREAM, 0, "", address) for family, address in addresses]

    monkeypatch.setattr(module, "resolve", resolve)


def with_silent_addresses(monkeypatch: pytest.MonkeyPatch) -> list[object]:
    """Connections to the address "silent" never answer. Returns the addresses that are tried, in their order."""
    loop, tried = asyncio.get_running_loop(), list[object]()
    real = loop.sock_connect

    async def connect(connection: socket.socket, address: tuple[object, ...]) -> None:
        tried.append(address)
        if address[0] == "silent":
            await asyncio.Event().wait()
        await real(connection, address)

    monkeypatch.setattr(loop, "sock_connect", connect)
    return tried


async def test_families_take_turns(monkeypatch: pytest.MonkeyPatch) -> None:
    tried = with_silent_addresses(monkeypatch)
    monkeypatch.setattr(module, "STAGGER", 0.01)
    a6, b6, c6, a4 = [(V6, ("silent", 1)), (V6, ("silent", 2)), (V6, ("silent", 3)), (V4, ("silent", 4))]
    resolving_to(monkeypatch, a6, b6, c6, a4)
    with pytest.raises(TimeoutError):
        async with asyncio.timeout(0.2):
            await connect_host("model.example", 443)
    assert tried == [a6[1], a4[1], b6[1], c6[1]]


async def test_a_dead_address_is_skipped(monkeypatch: pytest.MonkeyPatch, listener: socket.socket) -> None:
    # Nobody listens on port 9 of loopback.
    resolving_to(monkeypatch, (V4, ("127.0.0.1", 9)), (V4, listener.getsockname()))
    with await connect_host("model.example", 443) as connection:
        assert connection.getpeername() == listener.getsockname()
        assert not connection.getblocking()


async def test_an_address_that_does_not_answer_is_raced(
    monkeypatch: pytest.MonkeyPatch, listener: socket.socket
) -> None:
    with_silent_addresses(monkeypatch)
    resolving_to(monkeypatch, (V6, ("silent",)), (V4, listener.getsockname()))
    before = time.monotonic()
    with await connect_host("model.example", 443) as connection:
        assert connection.getpeername() == listener.getsockname()
    assert time.monotonic() - before >= STAGGER


async def test_the_error_is_reported_where_no_address_answers(monkeypatch: pytest.MonkeyPatch) -> None:
    resolving_to(monkeypatch, (V4, ("127.0.0.1", 9)), (V4, ("127.0.0.1", 9)))
    with pytest.raises(ConnectionRefusedError):
        await connect_host("model.example", 443)
    resolving_to(monkeypatch, (V4, ("127.0.0.1", 9)), (V4, ("127.0.0.2", 9)))
    with pytest.raises(ConnectionRefusedError, match=r"127\.0\.0\.1.*127\.0\.0\.2"):
        await connect_host("model.example", 443)


async def test_only_addresses_that_the_filter_leaves_are_connected_to(
    monkeypatch: pytest.MonkeyPatch, listener: socket.socket
) -> None:
    tried = with_silent_addresses(monkeypatch)
    resolving_to(monkeypatch, (V4, ("127.0.0.2", 9)), (V4, listener.getsockname()))
    with await connect_host("model.example", 443, lambda host, addresses: set(addresses) - {"127.0.0.2"}):
        assert tried == [listener.getsockname()]


async def test_the_receive_buffer_is_set_before_the_connection_is_established(
    monkeypatch: pytest.MonkeyPatch, listener: socket.socket
) -> None:
    sizes, real = list[int](), asyncio.get_running_loop().sock_connect

    async def connect(connection: socket.socket, address: tuple[object, ...]) -> None:
        sizes.append(connection.getsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF))
        await real(connection, address)

    monkeypatch.setattr(asyncio.get_running_loop(), "sock_connect", connect)
    resolving_to(monkeypatch, (V4, listener.getsockname()))
    with await connect_host("model.example", 443, receive_buffer=16 << 10):
        assert 16 << 10 <= sizes[0] <= 32 << 10


async def test_a_race_that_is_cancelled_leaves_no_socket(
    monkeypatch: pytest.MonkeyPatch, listener: socket.socket
) -> None:
    resolving_to(monkeypatch, *[(V4, listener.getsockname())] * 3)
    for turns in range(12):
        racing = asyncio.create_task(connect_host("model.example", 443))
        for _ in range(turns):
            await asyncio.sleep(0)
        racing.cancel()
        for outcome in await asyncio.gather(racing, return_exceptions=True):
            if isinstance(outcome, socket.socket):
                outcome.close()
        await asyncio.sleep(0)
