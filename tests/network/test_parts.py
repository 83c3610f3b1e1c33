"""Chunks that are fetched in parts, and slow streams that are replaced, with real sockets and small chunks."""

from __future__ import annotations

import asyncio
from random import Random

import pytest

from modelferry.engine.pacing import concurrency, parts, slow_streams
from modelferry.errors import Stalled
from network.harness import CHUNK, DownloadHarness, Serve, entry
from network.test_random_errors import RandomErrors
from origin.rules import Rule

pytestmark = pytest.mark.usefixtures("small_chunks", "small_parts")

PART = 8 * 1024


@pytest.fixture
def small_parts(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(parts, "MIN_PART", PART)


@pytest.fixture
def short_memory(monkeypatch: pytest.MonkeyPatch) -> None:
    """Divide the measuring intervals by ten, so that a stalled stream is detected sooner."""
    for name in ("RATE_WINDOW", "RECENT_WINDOW", "SAMPLE_INTERVAL", "MIN_AGE", "MIN_ETA"):
        monkeypatch.setattr(slow_streams, name, getattr(slow_streams, name) / 10)
    monkeypatch.setattr(slow_streams, "MIN_CUT", PART)
    monkeypatch.setattr(concurrency, "MIN_RATE_SAMPLE", PART)


async def test_chunks_are_assembled_from_parts_and_no_byte_is_sent_twice(
    serve: Serve, harness: DownloadHarness, data: bytes
) -> None:
    async with serve({"a": data}) as origin:
        result = await harness.pull(entry("a", data, origin.url("a")))
        assert len(origin.requests("a")) > len(data) / CHUNK
        assert origin.sent() == len(data)
    assert (result.fetched, result.retries) == (len(data), 0)
    assert harness.read("a") == data


async def test_a_corrupt_part_makes_its_chunk_be_fetched_again(
    serve: Serve, harness: DownloadHarness, data: bytes
) -> None:
    bad = 2 * CHUNK + 77
    async with serve({"a": data}, digest=True, rules=[Rule(corrupt=bad, covers=bad, times=1)]) as origin:
        await harness.pull(entry("a", data, origin.url("a")))
        assert origin.sent() == len(data) + CHUNK
        assert origin.requests("a")[-1].span is not None
        assert [e.span for e in origin.requests("a") if e.no_cache] == [(2 * CHUNK, 3 * CHUNK)]
    assert harness.read("a") == data


async def test_a_part_of_another_version_discards_the_parts_of_its_chunk(
    serve: Serve, harness: DownloadHarness, data: bytes
) -> None:
    async with serve({"a": data}, rules=[Rule(etag='"other"', first=3, times=1)]) as origin:
        result = await harness.pull(entry("a", data, origin.url("a")))
        assert len(data) < origin.sent() <= len(data) + CHUNK
    assert result.retries == 1
    assert harness.read("a") == data


async def test_a_file_that_alternates_between_two_versions_is_fetched_in_complete_chunks(
    serve: Serve, harness: DownloadHarness, data: bytes
) -> None:
    rules = [Rule(etag='"other"', first=number, times=1) for number in range(1, 200, 2)]
    async with serve({"a": data}, rules=rules) as origin:
        await harness.pull(entry("a", data, origin.url("a")))
        assert origin.sent() <= 2 * len(data)
    assert harness.read("a") == data


async def test_a_file_without_range_support_is_requested_once(
    serve: Serve, harness: DownloadHarness, data: bytes
) -> None:
    async with serve({"a": data}, rules=[Rule(ignore_range=True)]) as origin:
        await harness.pull(entry("a", data, origin.url("a")))
        assert [e.range for e in origin.requests("a")].count("") == 1
    assert harness.read("a") == data


async def test_connections_are_opened_before_the_first_response_but_send_nothing(
    serve: Serve, harness: DownloadHarness, data: bytes
) -> None:
    async with serve({"a": data}, rules=[Rule(raw="HTTP/1.1 404 Gone\r\n\r\n", delay=0.5)]) as origin:
        with pytest.raises(Stalled):
            await harness.pull(entry("a", data, origin.url("a")))
        assert origin.accepted == harness.connections
        assert len(origin.requests("a")) == 1


async def test_a_file_of_one_small_chunk_opens_one_connection(serve: Serve, harness: DownloadHarness) -> None:
    async with serve({"a": b"small"}, rules=[Rule(delay=0.5)]) as origin:
        await harness.pull(entry("a", b"small", origin.url("a")))
        assert origin.accepted == 1


async def test_small_files_are_fetched_in_parallel_with_a_large_one(
    serve: Serve, harness: DownloadHarness, data: bytes
) -> None:
    files = {f"small/{number}": bytes([number]) * 100 for number in range(40)} | {"z": data}
    async with serve(files) as origin:
        await harness.pull(*(entry(path, content, origin.url(path)) for path, content in files.items()))
        assert origin.accepted <= harness.connections
    assert all(harness.read(path) == content for path, content in files.items())


@pytest.mark.usefixtures("short_memory")
async def test_a_stalled_stream_is_replaced_before_the_stall_timeout(serve: Serve, harness: DownloadHarness) -> None:
    data = Random(1).randbytes(40 * CHUNK)
    harness.limits = type(harness.limits)(connect=5.0, head=20.0, stall=20.0, floor=1)
    harness.connections, harness.progress_deadline = 8, 60.0
    async with serve({"a": data}, rules=[Rule(stall=3000, first=12, times=1)], rate=200_000) as origin:
        async with asyncio.timeout(15.0):
            result = await harness.pull(entry("a", data, origin.url("a")))
        assert origin.sent() <= len(data) + PART
    assert harness.read("a") == data
    assert result.retries >= 1


@pytest.mark.parametrize("digest", [True, False], ids=["with Content-Digest", "without Content-Digest"])
@pytest.mark.parametrize("seed", range(8))
@pytest.mark.usefixtures("short_memory")
async def test_the_content_is_correct_despite_random_errors(
    serve: Serve, harness: DownloadHarness, seed: int, digest: bool
) -> None:
    data = Random(seed).randbytes(12 * CHUNK + seed)
    async with serve({"a": data}, digest=digest) as origin:
        origin.script = RandomErrors(seed)
        await harness.pull_with_restarts(entry("a", data, origin.url("a")))
    assert harness.read("a") == data
