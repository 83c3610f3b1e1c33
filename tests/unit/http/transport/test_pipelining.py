"""Several requests on one connection, and when they are sent so."""

from __future__ import annotations

import asyncio
import socket
from collections.abc import AsyncIterator

import pytest

from modelferry.errors import ConnectionFailed
from modelferry.http.transport.connection import Connection
from modelferry.http.transport.pipelining import PipelinedConnection, PipeliningPolicy, Unanswered


class Wire(Connection):
    """Takes note of what is sent."""

    def __init__(self) -> None:
        near, self.far = socket.socketpair()
        super().__init__(1024, near)
        self.sent: list[bytes] = []

    def send(self, data: bytes) -> None:
        self.sent.append(data)

    async def come(self, data: bytes) -> None:
        """Have `data` arrive."""
        await asyncio.get_running_loop().sock_sendall(self.far, data)


@pytest.fixture
async def wire() -> AsyncIterator[Wire]:
    wire = Wire()
    wire.far.setblocking(False)
    yield wire
    wire.abort()
    wire.far.close()


def piped(wire: Wire) -> tuple[PipelinedConnection, asyncio.Event]:
    """A pipe over `wire`, which is open when the event is set."""
    may = asyncio.Event()

    async def connect() -> Connection:
        await may.wait()
        return wire

    return PipelinedConnection(connect, lambda connection: connection.abort()), may


async def test_requests_are_sent_at_once_and_answers_read_in_their_order(wire: Wire) -> None:
    pipe, may = piped(wire)
    first, second = pipe.send(b"1"), pipe.send(b"2")
    may.set()
    assert await first is wire
    third = pipe.send(b"3")
    assert wire.sent == [b"1", b"2", b"3"]
    assert not second.done()
    assert not third.done()
    pipe.next()
    assert await second is wire
    assert not third.done()
    pipe.next()
    assert await third is wire
    assert pipe.requests == 1


async def test_who_waits_when_it_ends_is_told_so(wire: Wire) -> None:
    pipe, may = piped(wire)
    turns = [pipe.send(b"1"), pipe.send(b"2"), pipe.send(b"3")]
    may.set()
    await turns[0]
    assert pipe.end() == 2
    assert pipe.ended
    assert wire.ended
    for turn in turns[1:]:
        with pytest.raises(Unanswered):
            await turn


async def test_the_connection_may_outlive_it(wire: Wire) -> None:
    pipe, may = piped(wire)
    may.set()
    await pipe.send(b"1")
    assert pipe.end(keep=True) == 0
    assert pipe.ended
    assert not wire.ended


async def test_an_answer_that_nobody_waits_for_any_more_ends_it(wire: Wire) -> None:
    pipe, may = piped(wire)
    first, second, third = pipe.send(b"1"), pipe.send(b"2"), pipe.send(b"3")
    may.set()
    await first
    second.cancel()
    pipe.next()
    assert pipe.ended
    assert wire.ended
    with pytest.raises(Unanswered):
        await third


async def test_a_connection_that_cannot_be_had_gives_all_back() -> None:
    async def connect() -> Connection:
        raise ConnectionFailed("refused")

    pipe = PipelinedConnection(connect, lambda connection: None)
    turns = [pipe.send(b"1"), pipe.send(b"2")]
    for turn in turns:
        with pytest.raises(Unanswered):
            await turn
    assert pipe.ended


async def test_what_comes_behind_an_answer_is_given_to_the_next(wire: Wire) -> None:
    await wire.come(b"first,second")
    given = await wire.take(12)
    assert bytes(given) == b"first,second"
    wire.unread(len(b"second"))
    assert bytes(await wire.take(1)) == b"second"
    await wire.come(b"third")
    assert bytes(await wire.take(5)) == b"third"


def test_a_server_that_closes_after_a_hundred_requests_is_trusted_all_the_same() -> None:
    policy = PipeliningPolicy()
    for _ in range(1000):
        for _ in range(89):
            policy.answered()
        policy.unanswered(11)
    assert policy.allowed


def test_a_server_that_answers_one_request_a_connection_is_soon_asked_so() -> None:
    policy = PipeliningPolicy()
    rounds = 0
    while policy.allowed:
        policy.unanswered(11)
        rounds += 1
    assert rounds == 2


def test_an_answer_to_something_else_is_enough() -> None:
    policy = PipeliningPolicy()
    for _ in range(1000):
        policy.answered()
    policy.stop()
    assert not policy.allowed
