"""Dialling a name with several addresses (row 50 of the catalogue)."""

from __future__ import annotations

import asyncio
import socket
from collections.abc import Iterator

import pytest

from modelferry.http.transport import happy_eyeballs as module
from modelferry.http.transport.happy_eyeballs import Address, connect_any, interleaved

V4, V6 = socket.AF_INET, socket.AF_INET6


@pytest.fixture
def listener() -> Iterator[socket.socket]:
    with socket.create_server(("127.0.0.1", 0)) as listener:
        yield listener


def resolving_to(monkeypatch: pytest.MonkeyPatch, *addresses: Address) -> None:
    async def resolve(host: str, port: int) -> list[Address]:
        return list(addresses)

    monkeypatch.setattr(module, "resolve", resolve)


def test_families_take_turns() -> None:
    a6, b6, c6, a4 = (V6, ("a",)), (V6, ("b",)), (V6, ("c",)), (V4, ("a",))
    assert interleaved([a6, b6, c6, a4]) == [a6, a4, b6, c6]
    assert interleaved([]) == []


async def test_a_dead_address_is_passed_over(monkeypatch: pytest.MonkeyPatch, listener: socket.socket) -> None:
    # Nobody listens on port 9 of loopback.
    resolving_to(monkeypatch, (V4, ("127.0.0.1", 9)), (V4, listener.getsockname()))
    with await connect_any("model.example", 443) as connection:
        assert connection.getpeername() == listener.getsockname()


async def test_an_address_that_does_not_answer_is_raced(
    monkeypatch: pytest.MonkeyPatch, listener: socket.socket
) -> None:
    real = module._connect

    async def connect(address: Address, receive: int | None) -> socket.socket:
        if address[1] == ("silent",):
            await asyncio.Event().wait()
        return await real(address, receive)

    monkeypatch.setattr(module, "_connect", connect)
    resolving_to(monkeypatch, (V6, ("silent",)), (V4, listener.getsockname()))
    with await connect_any("model.example", 443) as connection:
        assert connection.getpeername() == listener.getsockname()


async def test_the_first_error_is_told_where_nobody_answers(monkeypatch: pytest.MonkeyPatch) -> None:
    resolving_to(monkeypatch, (V4, ("127.0.0.1", 9)), (V4, ("127.0.0.1", 9)))
    with pytest.raises(ConnectionRefusedError):
        await connect_any("model.example", 443)


async def test_a_race_that_is_called_off_leaves_no_socket(
    monkeypatch: pytest.MonkeyPatch, listener: socket.socket
) -> None:
    resolving_to(monkeypatch, *[(V4, listener.getsockname())] * 3)
    for turns in range(12):
        racing = asyncio.create_task(connect_any("model.example", 443))
        for _ in range(turns):
            await asyncio.sleep(0)
        racing.cancel()
        for outcome in await asyncio.gather(racing, return_exceptions=True):
            if isinstance(outcome, socket.socket):
                outcome.close()
        await asyncio.sleep(0)
