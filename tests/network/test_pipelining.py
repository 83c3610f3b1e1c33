"""Small files whose requests share connections, against servers that answer them in every way there is."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable, Coroutine, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass, field, replace
from random import Random
from typing import Any

import pytest

from modelferry.engine.checkpoint.local import LocalCheckpoint
from modelferry.engine.download.attempt import Assignment, Attempt
from modelferry.engine.download.attempt_runner import AttemptRunner
from modelferry.engine.download.events import AttemptStarted, ChunkCommitted, DownloadOpened, Fact, Outcome, Requeued
from modelferry.engine.download.outcomes import OutcomeHandler
from modelferry.engine.download.state import DownloadState
from modelferry.engine.mirrors.registry import MirrorRegistry
from modelferry.engine.pacing import ProgressDeadline
from modelferry.engine.storage.incoming_files import IncomingFiles
from modelferry.http.client import HTTPClient
from modelferry.http.routes import Route, Routes
from modelferry.http.tls.contexts import client_context
from modelferry.http.transport.connection_key import Timeouts
from modelferry.http.transport.response import Response
from modelferry.manifest import FileEntry
from modelferry.manifest.entries import content_addressed
from network.world import World, entry

FILES = {f"{number:02d}.json": Random(number).randbytes(4000) for number in range(24)}


#: What is sent for requests that came together; the connection is closed where it ends with `END`.
Answers = Callable[["Batching", list[str]], list[bytes]]
END = b""
#: Seconds that the server waits for a request that may never come.
_PATIENCE = 0.05


@dataclass
class Batching:
    """Answers the first request at once. From then on it waits until ``gathers`` requests are there on a connection,
    or none comes for a while, and has ``answers`` answer them. ``batches``: how many there were, each time."""

    answers: Answers
    gathers: int = 3
    batches: list[int] = field(default_factory=list)
    base: str = ""

    def one(self, path: str) -> bytes:
        """The right answer."""
        body = FILES[path]
        return b'HTTP/1.1 200 OK\r\nETag: "%b"\r\nContent-Length: %d\r\n\r\n%b' % (path.encode(), len(body), body)

    def entries(self) -> tuple[FileEntry, ...]:
        """All files."""
        return tuple(entry(path, content, self.base + path) for path, content in FILES.items())

    @property
    def widest(self) -> int:
        """Requests that were there at once on a connection, at most."""
        return max(self.batches)

    async def accept(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        """Serve a connection."""
        try:
            while paths := await self._gathered(reader):
                self.batches.append(len(paths))
                alone = len(paths) == 1
                for answer in [self.one(paths[0])] if alone else self.answers(self, paths):
                    if answer == END:
                        return
                    writer.write(answer)
                await writer.drain()
        except (ConnectionError, asyncio.CancelledError):
            pass
        finally:
            writer.close()

    async def _gathered(self, reader: asyncio.StreamReader) -> list[str]:
        found: list[str] = []
        try:
            found.append(await self._path(reader))
            while self.batches and len(found) < self.gathers:
                async with asyncio.timeout(_PATIENCE):  # what was given back is asked for alone
                    found.append(await self._path(reader))
        except (asyncio.IncompleteReadError, TimeoutError):
            pass
        return found

    async def _path(self, reader: asyncio.StreamReader) -> str:
        return (await reader.readuntil(b"\r\n\r\n")).split(b" ")[1].decode().lstrip("/")


@asynccontextmanager
async def serving(answers: Answers, gathers: int = 3) -> AsyncIterator[Batching]:
    batching = Batching(answers, gathers)
    server = await asyncio.start_server(batching.accept, "127.0.0.1", 0)
    batching.base = f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}/"
    async with server:
        yield batching


@pytest.fixture
def near(world: World) -> World:
    return replace(world, connections=2, allow_plain_http=True)


def right(world: World) -> bool:
    """Is every file there, and right?"""
    return all(world.read(path) == content for path, content in FILES.items())


def in_order(server: Batching, paths: list[str]) -> list[bytes]:
    return [server.one(path) for path in paths]


async def test_small_files_are_asked_for_together(near: World) -> None:
    async with serving(in_order) as server:
        result = await near.pull(*server.entries())
    assert right(near)
    assert (result.retries, server.widest) == (0, 3)
    assert sum(server.batches) == len(FILES)


async def test_what_stands_behind_a_connection_that_ends_is_asked_for_again_and_nobody_is_blamed(near: World) -> None:
    async with serving(lambda server, paths: [server.one(paths[0]), END]) as server:
        result = await near.pull(*server.entries())
    assert right(near)
    assert (result.retries, near.met) == (0, [])


async def test_answers_in_the_wrong_order_are_found_out_and_never_got_again(near: World) -> None:
    async with serving(lambda server, paths: in_order(server, paths[::-1])) as server:
        await near.pull(*server.entries())
    assert right(near)
    found = next(number for number, batch in enumerate(server.batches) if batch > 1)
    compared = [number for number, batch in enumerate(server.batches) if batch == 1 and number > found + 12]
    assert compared == list(range(compared[0], len(server.batches)))


@pytest.mark.parametrize(
    "second",
    [
        b"nothing that HTTP knows",
        b"HTTP/1.1 404 Not Found\r\nContent-Length: 0\r\n\r\n",
        b"HTTP/1.1 200 OK\r\nContent-Length: 1\r\n\r\nx",
        b"HTTP/1.1 200 OK\r\nContent-Length: 4000\r\nTransfer-Encoding: chunked\r\n\r\n",
    ],
    ids=["garbage", "not found", "another size", "ambiguous"],
)
async def test_an_odd_answer_behind_another_counts_for_nothing_and_is_asked_for_alone(
    near: World, second: bytes
) -> None:
    async with serving(lambda server, paths: [server.one(paths[0]), second, END]) as server:
        result = await near.pull(*server.entries())
    assert right(near)
    assert (result.retries, near.met) == (0, [])
    odd = [number for number, batch in enumerate(server.batches) if batch > 1]
    assert len(odd) <= 2 * near.connections


async def test_who_stands_behind_an_answer_that_does_not_come_is_not_held_up_by_it(near: World) -> None:
    impatient = replace(near, limits=Timeouts(connect=5.0, head=1.0, stall=1.0, floor=1))
    stalled: list[str] = []

    def stalls_once(server: Batching, paths: list[str]) -> list[bytes]:
        if stalled:
            return in_order(server, paths)
        stalled.extend(paths)
        return []

    async with serving(stalls_once) as server:
        result = await impatient.pull(*server.entries())
    assert right(impatient)
    assert (result.retries, impatient.met) == (1, [32])


async def test_a_busy_answer_is_believed_wherever_it_stands(near: World) -> None:
    busy = b"HTTP/1.1 503 Busy\r\nRetry-After: 1\r\nContent-Length: 0\r\n\r\n"
    once: list[str] = []

    def busy_once(server: Batching, paths: list[str]) -> list[bytes]:
        if once:
            return in_order(server, paths)
        once.append(paths[1])
        return [server.one(paths[0]), busy, END]

    async with serving(busy_once) as server:
        await near.pull(*server.entries())
    assert right(near)
    assert near.met == [35]


async def test_what_stands_behind_a_busy_answer_is_read_all_the_same(near: World) -> None:
    busy = b"HTTP/1.1 429 Slow Down\r\nRetry-After: 1\r\nContent-Length: 4\r\n\r\nbusy"
    once: list[str] = []

    def busy_once(server: Batching, paths: list[str]) -> list[bytes]:
        answers = in_order(server, paths)
        if not once:
            once.append(paths[0])
            answers[0] = busy
        return answers

    async with serving(busy_once) as server:
        await near.pull(*server.entries())
    assert right(near)
    assert near.met == [35]
    assert sum(server.batches) == len(FILES) + 1


async def test_files_without_a_digest_are_asked_for_one_at_a_time(near: World) -> None:
    async with serving(in_order) as server:
        blind = tuple(replace(file, digest=None) for file in server.entries()[:4])
        await near.pull(*blind)
    assert server.widest == 1


async def test_with_two_mirrors_nobody_could_be_blamed_so_each_is_asked_for_one_at_a_time(near: World) -> None:
    async with serving(in_order) as server, serving(in_order) as other:
        some = list(FILES)[:4]
        files = tuple(entry(path, FILES[path], server.base + path, other.base + path) for path in some)
        await near.pull(*files)
    assert server.widest == 1


async def test_who_stands_behind_an_answer_that_is_called_off_is_told_so(
    near: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    reading, original = asyncio.Event(), Response.skip

    async def skip(answer: Response) -> None:
        reading.set()
        await original(answer)

    monkeypatch.setattr(Response, "skip", skip)
    half = b"HTTP/1.1 429 Slow Down\r\nRetry-After: 1\r\nContent-Length: 4\r\n\r\nbu"
    async with serving(lambda server, paths: [half], gathers=2) as server:
        http_client = HTTPClient(Routes(Route(client_context(near.ca_file))), near.limits)
        async with exchanging(near, http_client, server.entries()[:3]) as tries:
            assert isinstance(await tries[0], ChunkCommitted)
            called_off, behind = asyncio.create_task(tries[1]), asyncio.create_task(tries[2])
            await reading.wait()
            called_off.cancel()
            async with asyncio.timeout(1):  # sooner than any deadline of a server's
                assert isinstance(await behind, Requeued)


@asynccontextmanager
async def exchanging(
    world: World, http_client: HTTPClient, files: tuple[FileEntry, ...]
) -> AsyncIterator[Sequence[Coroutine[Any, Any, Outcome]]]:
    """A try at each of `files`, not begun; all but the first may share a connection."""
    manifest = content_addressed(files)
    checkpoint = LocalCheckpoint(world.directory, boot_id=world.boot_id)
    opened = await checkpoint.open(manifest)
    disk = IncomingFiles(opened.root, manifest.revision)
    clock = asyncio.get_running_loop().time
    download = DownloadState(MirrorRegistry.of(1), ProgressDeadline(300.0, clock()))
    outcomes = OutcomeHandler(download, clock, lambda: 0.0, lambda: None)

    def emit(fact: Fact) -> None:
        assert outcomes.apply(fact) == []

    runner = AttemptRunner(http_client, disk, checkpoint, True, emit, clock)
    outcomes.apply(DownloadOpened(manifest, opened))
    tries = []
    for task in list(download.queue):
        location = download.files[task.file].locations[0]
        attempt = Attempt.of(download.files[task.file], task, location)
        attempt.pipelined = task.file > 0
        outcomes.apply(AttemptStarted(attempt, Assignment(task, location, queued=task)))
        tries.append(runner.run(attempt))
    try:
        yield tries
    finally:
        await http_client.close()
        disk.close()
        await checkpoint.close()
