"""Small files with pipelined requests, from servers that answer them in many ways."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable, Coroutine, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass, field, replace
from random import Random
from typing import Any

import pytest

from modelferry.checkpoint.local import LocalCheckpoint
from modelferry.engine.download.attempt import Assignment, Attempt
from modelferry.engine.download.attempt_runner import AttemptRunner
from modelferry.engine.download.events import AttemptStarted, ChunkCommitted, DownloadOpened, Fact, Outcome, Requeued
from modelferry.engine.download.outcomes import OutcomeHandler
from modelferry.engine.download.state import DownloadState
from modelferry.engine.mirrors.registry import MirrorRegistry
from modelferry.engine.pacing import ProgressDeadline
from modelferry.http.client import HTTPClient
from modelferry.http.routes import Route, Routes
from modelferry.http.tls.contexts import client_context
from modelferry.http.transport.connection_key import Timeouts
from modelferry.http.transport.response import Response
from modelferry.http.wire import ServerBehavior
from modelferry.manifest import FileEntry
from modelferry.manifest.entries import content_addressed
from modelferry.storage.incoming_files import IncomingFiles
from network.harness import DownloadHarness, entry
from origin.listener import Listener

FILES = {f"{number:02d}.json": Random(number).randbytes(4000) for number in range(24)}


#: Returns the responses to a batch of pipelined requests; after `CLOSE` the connection is closed.
Responses = Callable[["BatchingServer", list[str]], list[bytes]]
CLOSE = b""
#: Seconds that the server waits for one more request.
_BATCH_TIMEOUT = 0.05


@dataclass
class BatchingServer:
    """Answers the first request at once. Then it waits until ``batch_size`` requests have arrived on a connection, or
    no more arrive for a while, and sends the ``responses`` to them. ``batches``: the sizes of the batches.
    """

    responses: Responses
    batch_size: int = 3
    batches: list[int] = field(default_factory=list)
    base: str = ""

    def one(self, path: str) -> bytes:
        """The correct response."""
        body = FILES[path]
        return b'HTTP/1.1 200 OK\r\nETag: "%b"\r\nContent-Length: %d\r\n\r\n%b' % (path.encode(), len(body), body)

    def entries(self) -> tuple[FileEntry, ...]:
        """The manifest's files."""
        return tuple(entry(path, content, self.base + path) for path, content in FILES.items())

    @property
    def largest_batch(self) -> int:
        """The size of the largest batch."""
        return max(self.batches)

    async def accept(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        """Serve one connection."""
        try:
            while paths := await self._batch(reader):
                self.batches.append(len(paths))
                alone = len(paths) == 1
                for response in [self.one(paths[0])] if alone else self.responses(self, paths):
                    if response == CLOSE:
                        # To close with requests unread would send a reset, which may overtake the responses.
                        writer.write_eof()
                        await reader.read()
                        return
                    writer.write(response)
                await writer.drain()
        except (ConnectionError, asyncio.CancelledError):
            pass
        finally:
            writer.close()

    async def _batch(self, reader: asyncio.StreamReader) -> list[str]:
        found: list[str] = []
        try:
            found.append(await self._path(reader))
            while self.batches and len(found) < self.batch_size:
                async with asyncio.timeout(_BATCH_TIMEOUT):  # requeued files are requested alone
                    found.append(await self._path(reader))
        except (asyncio.IncompleteReadError, TimeoutError):
            pass
        return found

    async def _path(self, reader: asyncio.StreamReader) -> str:
        return (await reader.readuntil(b"\r\n\r\n")).split(b" ")[1].decode().lstrip("/")


@asynccontextmanager
async def serving(responses: Responses, batch_size: int = 3) -> AsyncIterator[BatchingServer]:
    batching = BatchingServer(responses, batch_size)
    async with Listener(batching.accept) as listener:
        batching.base = f"http://127.0.0.1:{listener.port}/"
        yield batching


@pytest.fixture
def plain(harness: DownloadHarness) -> DownloadHarness:
    return replace(harness, connections=2, allow_plain_http=True)


def complete(harness: DownloadHarness) -> bool:
    """Whether every file is published with the correct content."""
    return all(harness.read(path) == content for path, content in FILES.items())


def in_order(server: BatchingServer, paths: list[str]) -> list[bytes]:
    return [server.one(path) for path in paths]


async def test_small_files_are_pipelined(plain: DownloadHarness) -> None:
    async with serving(in_order) as server:
        result = await plain.pull(*server.entries())
    assert complete(plain)
    assert (result.retries, server.largest_batch) == (0, 3)
    assert sum(server.batches) == len(FILES)


async def test_pipelined_requests_on_a_closed_connection_are_requeued_without_an_error(plain: DownloadHarness) -> None:
    async with serving(lambda server, paths: [server.one(paths[0]), CLOSE]) as server:
        result = await plain.pull(*server.entries())
    assert complete(plain)
    assert (result.retries, plain.met) == (0, [])


async def test_responses_in_the_wrong_order_are_detected_and_disable_pipelining(plain: DownloadHarness) -> None:
    async with serving(lambda server, paths: in_order(server, paths[::-1])) as server:
        await plain.pull(*server.entries())
    assert complete(plain)
    detected = next(number for number, batch in enumerate(server.batches) if batch > 1)
    compared = [number for number, batch in enumerate(server.batches) if batch == 1 and number > detected + 12]
    assert compared == list(range(compared[0], len(server.batches)))


@pytest.mark.parametrize(
    "second",
    [
        b"not an HTTP response",
        b"HTTP/1.1 404 Not Found\r\nContent-Length: 0\r\n\r\n",
        b"HTTP/1.1 200 OK\r\nContent-Length: 1\r\n\r\nx",
        b"HTTP/1.1 200 OK\r\nContent-Length: 4000\r\nTransfer-Encoding: chunked\r\n\r\n",
    ],
    ids=["garbage", "not found", "another size", "ambiguous"],
)
async def test_an_unusual_pipelined_response_is_discarded_and_requested_alone(
    plain: DownloadHarness, second: bytes
) -> None:
    async with serving(lambda server, paths: [server.one(paths[0]), second, CLOSE]) as server:
        result = await plain.pull(*server.entries())
    assert complete(plain)
    assert (result.retries, plain.met) == (0, [])
    pipelined = [number for number, batch in enumerate(server.batches) if batch > 1]
    assert len(pipelined) <= 2 * plain.connections


async def test_a_stalled_response_does_not_block_the_requests_behind_it(plain: DownloadHarness) -> None:
    short_timeouts = replace(plain, limits=Timeouts(connect=5.0, head=1.0, stall=1.0, floor=1))
    stalled: list[str] = []

    def stalls_once(server: BatchingServer, paths: list[str]) -> list[bytes]:
        if stalled:
            return in_order(server, paths)
        stalled.extend(paths)
        return []

    async with serving(stalls_once) as server:
        result = await short_timeouts.pull(*server.entries())
    assert complete(short_timeouts)
    assert (result.retries, short_timeouts.met) == (1, [ServerBehavior.STALLED])


async def test_a_pipelined_retry_after_is_obeyed(plain: DownloadHarness) -> None:
    busy = b"HTTP/1.1 503 Busy\r\nRetry-After: 1\r\nContent-Length: 0\r\n\r\n"
    once: list[str] = []

    def busy_once(server: BatchingServer, paths: list[str]) -> list[bytes]:
        if once:
            return in_order(server, paths)
        once.append(paths[1])
        return [server.one(paths[0]), busy, CLOSE]

    async with serving(busy_once) as server:
        await plain.pull(*server.entries())
    assert complete(plain)
    assert plain.met == [ServerBehavior.RETRY_AFTER]


async def test_responses_behind_a_retry_after_are_still_read(plain: DownloadHarness) -> None:
    busy = b"HTTP/1.1 429 Slow Down\r\nRetry-After: 1\r\nContent-Length: 4\r\n\r\nbusy"
    once: list[str] = []

    def busy_once(server: BatchingServer, paths: list[str]) -> list[bytes]:
        answers = in_order(server, paths)
        if not once:
            once.append(paths[0])
            answers[0] = busy
        return answers

    async with serving(busy_once) as server:
        await plain.pull(*server.entries())
    assert complete(plain)
    assert plain.met == [ServerBehavior.RETRY_AFTER]
    assert sum(server.batches) == len(FILES) + 1


async def test_files_without_a_digest_are_not_pipelined(plain: DownloadHarness) -> None:
    async with serving(in_order) as server:
        without_digest = tuple(replace(file, digest=None) for file in server.entries()[:4])
        await plain.pull(*without_digest)
    assert server.largest_batch == 1


async def test_files_on_two_mirrors_are_not_pipelined_since_corruption_could_not_be_attributed(
    plain: DownloadHarness,
) -> None:
    async with serving(in_order) as server, serving(in_order) as other:
        some = list(FILES)[:4]
        files = tuple(entry(path, FILES[path], server.base + path, other.base + path) for path in some)
        await plain.pull(*files)
    assert server.largest_batch == 1


async def test_requests_behind_a_cancelled_response_are_requeued(
    plain: DownloadHarness, monkeypatch: pytest.MonkeyPatch
) -> None:
    reading, original = asyncio.Event(), Response.skip

    async def skip(response: Response) -> None:
        reading.set()
        await original(response)

    monkeypatch.setattr(Response, "skip", skip)
    half = b"HTTP/1.1 429 Slow Down\r\nRetry-After: 1\r\nContent-Length: 4\r\n\r\nbu"
    async with serving(lambda server, paths: [half], batch_size=2) as server:
        http_client = HTTPClient(Routes(Route(client_context(plain.ca_file))), plain.limits)
        async with attempts(plain, http_client, server.entries()[:3]) as created:
            assert isinstance(await created[0], ChunkCommitted)
            cancelled, behind = asyncio.create_task(created[1]), asyncio.create_task(created[2])
            await reading.wait()
            cancelled.cancel()
            async with asyncio.timeout(1):  # less than any timeout
                assert isinstance(await behind, Requeued)


@asynccontextmanager
async def attempts(
    harness: DownloadHarness, http_client: HTTPClient, files: tuple[FileEntry, ...]
) -> AsyncIterator[Sequence[Coroutine[Any, Any, Outcome]]]:
    """An attempt for each of `files`, not started; all but the first may be pipelined."""
    manifest = content_addressed(files)
    checkpoint = LocalCheckpoint(harness.directory, boot_id=harness.boot_id)
    opened = await checkpoint.open(manifest)
    disk = IncomingFiles(opened.root, manifest.revision)
    clock = asyncio.get_running_loop().time
    download = DownloadState(MirrorRegistry.of(1), ProgressDeadline(300.0, clock()))
    outcomes = OutcomeHandler(download, clock, lambda: 0.0, lambda: None)

    def emit(fact: Fact) -> None:
        assert outcomes.apply(fact) == []

    runner = AttemptRunner(http_client, disk, checkpoint, True, emit, clock)
    outcomes.apply(DownloadOpened(manifest, opened))
    created = []
    for task in list(download.queue):
        location = download.files[task.file].locations[0]
        attempt = Attempt.of(download.files[task.file], task, location)
        attempt.pipelined = task.file > 0
        outcomes.apply(AttemptStarted(attempt, Assignment(task, location, queued=task)))
        created.append(runner.run(attempt))
    try:
        yield created
    finally:
        await http_client.close()
        disk.close()
        await checkpoint.close()
