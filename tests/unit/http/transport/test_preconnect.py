"""Connections that are opened before anybody asks for one."""

from __future__ import annotations

import asyncio

import pytest

from modelferry.errors import CertificateRefused, ConnectionFailed
from modelferry.http.transport.preconnect import UNUSED_TIMEOUT, Preconnect

pytestmark = pytest.mark.looptime


class Server:
    """Takes a second for each connection; the numbers in `refused` are refused."""

    def __init__(self, *refused: int) -> None:
        self.made = 0
        self._refused = refused

    async def connect(self, line: str) -> str:
        self.made += 1
        number = self.made
        await asyncio.sleep(1.0)
        if number in self._refused:
            raise ConnectionFailed("refused")
        return f"{line}{number}"


async def test_each_is_taken_once_and_where_there_is_none_nothing_is_given() -> None:
    ahead = Preconnect(Server().connect)
    ahead.open("a", 2)
    assert [await ahead.take("a"), await ahead.take("a"), await ahead.take("a")] == ["a1", "a2", None]
    assert await ahead.take("b") is None


async def test_those_that_are_under_way_are_not_opened_again() -> None:
    server = Server()
    ahead = Preconnect(server.connect)
    ahead.open("a", 2)
    ahead.open("a", 3)
    await ahead.take("a")
    assert server.made == 3


async def test_one_that_cannot_be_made_is_nobodys_error() -> None:
    ahead = Preconnect(Server(1).connect)
    ahead.open("a", 2)
    assert [await ahead.take("a"), await ahead.take("a")] == [None, "a2"]


async def test_a_refusal_is_told_to_who_takes_it() -> None:
    async def refuse(line: str) -> str:
        raise CertificateRefused("expired")

    ahead = Preconnect(refuse)
    ahead.open("a", 1)
    with pytest.raises(CertificateRefused, match="expired"):
        await ahead.take("a")


async def test_after_the_end_nothing_is_opened_any_more() -> None:
    ahead = Preconnect(Server().connect)
    ahead.open("a", 1)
    await ahead.close()
    assert await ahead.take("a") is None
    assert len(asyncio.all_tasks()) == 1


async def test_one_that_is_open_is_given_before_one_that_is_not() -> None:
    """A server with few workers accepts some of them, and not always the first."""
    server = Server(1)
    ahead = Preconnect(server.connect)
    ahead.open("a", 1)
    await asyncio.sleep(0.5)
    ahead.open("a", 2)
    await asyncio.sleep(0.6)
    assert [await ahead.take("a"), await ahead.take("a")] == [None, "a2"]


async def test_one_that_nobody_takes_is_closed() -> None:
    closed: list[str] = []
    ahead = Preconnect(Server().connect, closed.append)
    ahead.open("a", 2)
    assert await ahead.take("a") == "a1"
    await asyncio.sleep(UNUSED_TIMEOUT + 0.1)
    assert closed == ["a2"]
    assert await ahead.take("a") is None


async def test_one_that_is_not_open_when_its_request_is_given_up_is_not_opened() -> None:
    server = Server()
    ahead = Preconnect(server.connect)
    ahead.open("a", 1)
    taking = asyncio.create_task(ahead.take("a"))
    await asyncio.sleep(0.5)
    taking.cancel()
    await asyncio.sleep(1.0)
    assert await ahead.take("a") is None
