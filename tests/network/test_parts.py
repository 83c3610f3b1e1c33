"""Chunks that come in parts, and streams that are helped, over real sockets: small chunks, and smaller parts."""

from __future__ import annotations

import asyncio
from random import Random

import pytest

from modelferry.engine.pacing import concurrency, parts, slow_streams
from modelferry.errors import Stalled
from network.test_chance import Chance
from network.world import CHUNK, Serve, World, entry
from origin.rules import Rule

pytestmark = pytest.mark.usefixtures("small_chunks", "small_parts")

PART = 8 * 1024


@pytest.fixture
def small_parts(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(parts, "MIN_PART", PART)


@pytest.fixture
def short_memory(monkeypatch: pytest.MonkeyPatch) -> None:
    """Seconds become tenths, so that a stalled stream is found out in a test's time."""
    for name in ("RATE_WINDOW", "RECENT_WINDOW", "SAMPLE_INTERVAL", "MIN_AGE", "MIN_ETA"):
        monkeypatch.setattr(slow_streams, name, getattr(slow_streams, name) / 10)
    monkeypatch.setattr(slow_streams, "MIN_CUT", PART)
    monkeypatch.setattr(concurrency, "MIN_RATE_SAMPLE", PART)


async def test_parts_make_chunks_and_no_byte_comes_twice(serve: Serve, world: World, data: bytes) -> None:
    async with serve({"a": data}) as origin:
        result = await world.pull(entry("a", data, origin.url("a")))
        assert len(origin.requests("a")) > len(data) / CHUNK
        assert origin.sent() == len(data)
    assert (result.fetched, result.retries) == (len(data), 0)
    assert world.read("a") == data


async def test_a_corrupt_part_costs_its_chunk(serve: Serve, world: World, data: bytes) -> None:
    bad = 2 * CHUNK + 77
    async with serve({"a": data}, digest=True, rules=[Rule(corrupt=bad, covers=bad, times=1)]) as origin:
        await world.pull(entry("a", data, origin.url("a")))
        assert origin.sent() == len(data) + CHUNK
        assert origin.requests("a")[-1].span is not None
        assert [e.span for e in origin.requests("a") if e.no_cache] == [(2 * CHUNK, 3 * CHUNK)]
    assert world.read("a") == data


async def test_a_part_of_another_version_costs_the_parts_of_its_chunk(serve: Serve, world: World, data: bytes) -> None:
    async with serve({"a": data}, rules=[Rule(etag='"other"', first=3, times=1)]) as origin:
        result = await world.pull(entry("a", data, origin.url("a")))
        assert len(data) < origin.sent() <= len(data) + CHUNK
    assert result.retries == 1
    assert world.read("a") == data


async def test_a_file_behind_two_versions_by_turns_is_fetched_in_whole_chunks(
    serve: Serve, world: World, data: bytes
) -> None:
    rules = [Rule(etag='"other"', first=number, times=1) for number in range(1, 200, 2)]
    async with serve({"a": data}, rules=rules) as origin:
        await world.pull(entry("a", data, origin.url("a")))
        assert origin.sent() <= 2 * len(data)
    assert world.read("a") == data


async def test_a_file_that_comes_as_one_stream_is_asked_for_once(serve: Serve, world: World, data: bytes) -> None:
    async with serve({"a": data}, rules=[Rule(ignore_range=True)]) as origin:
        await world.pull(entry("a", data, origin.url("a")))
        assert [e.range for e in origin.requests("a")].count("") == 1
    assert world.read("a") == data


async def test_connections_are_open_before_the_first_answer_but_send_nothing(
    serve: Serve, world: World, data: bytes
) -> None:
    async with serve({"a": data}, rules=[Rule(raw="HTTP/1.1 404 Gone\r\n\r\n", delay=0.5)]) as origin:
        with pytest.raises(Stalled):
            await world.pull(entry("a", data, origin.url("a")))
        assert origin.accepted == world.connections
        assert len(origin.requests("a")) == 1


async def test_a_file_of_one_small_chunk_opens_no_connection_that_it_does_not_need(serve: Serve, world: World) -> None:
    async with serve({"a": b"small"}, rules=[Rule(delay=0.5)]) as origin:
        await world.pull(entry("a", b"small", origin.url("a")))
        assert origin.accepted == 1


async def test_many_small_files_come_beside_a_large_one(serve: Serve, world: World, data: bytes) -> None:
    files = {f"small/{number}": bytes([number]) * 100 for number in range(40)} | {"z": data}
    async with serve(files) as origin:
        await world.pull(*(entry(path, content, origin.url(path)) for path, content in files.items()))
        assert origin.accepted <= world.connections
    assert all(world.read(path) == content for path, content in files.items())


@pytest.mark.usefixtures("short_memory")
async def test_a_stalled_stream_is_replaced_before_its_time_is_over(serve: Serve, world: World) -> None:
    data = Random(1).randbytes(40 * CHUNK)
    world.limits = type(world.limits)(connect=5.0, head=20.0, stall=20.0, floor=1)
    world.connections, world.progress_deadline = 8, 60.0
    async with serve({"a": data}, rules=[Rule(stall=3000, first=12, times=1)], rate=200_000) as origin:
        async with asyncio.timeout(15.0):
            result = await world.pull(entry("a", data, origin.url("a")))
        assert origin.sent() <= len(data) + PART
    assert world.read("a") == data
    assert result.retries >= 1


@pytest.mark.parametrize("digest", [True, False], ids=["with Content-Digest", "without"])
@pytest.mark.parametrize("seed", range(8))
@pytest.mark.usefixtures("short_memory")
async def test_whatever_the_origin_does_the_bytes_are_right(
    serve: Serve, world: World, seed: int, digest: bool
) -> None:
    data = Random(seed).randbytes(12 * CHUNK + seed)
    async with serve({"a": data}, digest=digest) as origin:
        origin.script = Chance(seed)
        await world.pull_at_last(entry("a", data, origin.url("a")))
    assert world.read("a") == data
