"""The RPC between fetch and checkpoint: over a real Unix socket, with a checkpoint that only records its calls."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from modelferry.agent.checkpoint_rpc import (
    CheckpointClient,
    CheckpointServer,
    decode_error,
    encode_error,
    encode_frame,
    read_frame,
)
from modelferry.checkpoint.api import (
    CommitResult,
    OpenedFile,
    OpenResult,
    QuarantinedMirror,
    Telemetry,
    VerifyResult,
    WrittenChunk,
)
from modelferry.errors import (
    CertificateRefused,
    ConnectionFailed,
    InsufficientSpace,
    InvalidSpec,
    ModelferryError,
    NotFound,
    ServerBusy,
)
from modelferry.manifest import FileEntry, Location
from modelferry.manifest.entries import content_addressed
from modelferry.messages.earlier_revisions import RetainedRevision

MANIFEST = content_addressed((FileEntry("a", 5, None, (Location("https://x/a"),)),))
CORRUPT = QuarantinedMirror("m", "https://x/a", "served wrong bytes")
OPENED = OpenResult("/data", False, (OpenedFile(2, False, (0, 3), (("m", '"1"'),)),), 7, ("note",), (CORRUPT,))
WRITTEN = WrittenChunk(0, 3, 2, 99, '"1"', "m", ((10, 20, "ab"),))


class Recorder:
    """Remembers what it was asked; answers ``written`` when it is let."""

    def __init__(self) -> None:
        self.asked: list[object] = []
        self.go = asyncio.Event()
        self.go.set()
        self.was_asked = asyncio.Event()

    async def open(self, manifest: object) -> OpenResult:
        self.asked.append("open")
        return OPENED

    async def commit_chunk(self, chunk: WrittenChunk) -> CommitResult:
        self.asked.append(chunk)
        self.was_asked.set()
        await self.go.wait()
        return CommitResult(True, changed=True)

    async def mark_pending(self, file: int, index: int) -> None:
        self.asked.append(("mark_pending", file, index))

    async def restart_file(self, file: int, generation: int) -> OpenedFile:
        return OpenedFile(generation + 1, False, (0, 1))

    async def verify_file(self, file: int) -> VerifyResult:
        return VerifyResult(False, "md5:1", "md5:2", (4, 5))

    async def quarantine(self, found: QuarantinedMirror) -> None:
        self.asked.append(found)

    async def publish(self) -> tuple[RetainedRevision, ...]:
        raise InsufficientSpace("full", shortfall=5)

    async def report_telemetry(self, telemetry: Telemetry) -> None:
        self.asked.append(telemetry)

    async def report_failure(self, error: ModelferryError) -> None:
        self.asked.append((type(error), error.message))


@pytest.fixture
def recorder() -> Recorder:
    return Recorder()


@pytest.fixture
async def server(tmp_path: Path, recorder: Recorder) -> AsyncIterator[CheckpointServer]:
    server = CheckpointServer(recorder, MANIFEST)
    await server.start(tmp_path / "s")
    yield server
    await server.close()


@pytest.fixture
async def client(tmp_path: Path) -> AsyncIterator[CheckpointClient]:
    client = CheckpointClient(tmp_path / "s", connect_timeout=1.0)
    yield client
    await client.close()


async def test_everything_arrives_as_it_was(
    server: CheckpointServer, client: CheckpointClient, recorder: Recorder
) -> None:
    assert await client.open(MANIFEST) == OPENED
    assert await client.commit_chunk(WRITTEN) == CommitResult(True, changed=True)
    await client.mark_pending(0, 3)
    assert await client.restart_file(0, 2) == OpenedFile(3, False, (0, 1))
    assert await client.verify_file(0) == VerifyResult(False, "md5:1", "md5:2", (4, 5))
    await client.report_telemetry(Telemetry(5, 4, 3, 2, "repairing", "x", (("a/b", 7),), (("streams", "m", 3, 0.5),)))
    await client.quarantine(CORRUPT)
    await client.report_failure(NotFound("gone", file="a"))
    assert recorder.asked == [
        "open",
        WRITTEN,
        ("mark_pending", 0, 3),
        Telemetry(5, 4, 3, 2, "repairing", "x", (("a/b", 7),), (("streams", "m", 3, 0.5),)),
        CORRUPT,
        (NotFound, "gone"),
    ]


async def test_an_error_arrives_as_itself(server: CheckpointServer, client: CheckpointClient) -> None:
    with pytest.raises(InsufficientSpace, match="full") as caught:
        await client.publish()
    assert caught.value.shortfall == 5


@pytest.mark.parametrize(
    "error",
    [
        NotFound("x", file="a"),
        InsufficientSpace("x", shortfall=5),
        ServerBusy("x", retry_after=2.0),
        CertificateRefused("x", reason="CertificateExpired"),
    ],
)
def test_every_error_goes_there_and_back(error: ModelferryError) -> None:
    back = decode_error(encode_error(error))
    assert (type(back), back.__dict__) == (type(error), error.__dict__)


def test_an_error_of_an_unknown_type_is_still_one() -> None:
    assert type(decode_error({"type": "os", "message": "x"})) is ModelferryError


async def test_another_manifest_is_refused(server: CheckpointServer, client: CheckpointClient) -> None:
    with pytest.raises(InvalidSpec, match="different manifests"):
        await client.open(content_addressed((FileEntry("b", 5, None, (Location("https://x/a"),)),)))


async def test_a_second_client_waits_until_the_first_is_gone(
    server: CheckpointServer, client: CheckpointClient, tmp_path: Path
) -> None:
    await client.open(MANIFEST)
    second = CheckpointClient(tmp_path / "s", connect_timeout=0.0)
    with pytest.raises(ConnectionFailed, match="another fetch is connected"):
        await second.open(MANIFEST)
    await client.close()
    patient = CheckpointClient(tmp_path / "s")
    assert await patient.open(MANIFEST) == OPENED
    await patient.close()


async def test_a_socket_without_a_listener_is_reported(client: CheckpointClient) -> None:
    client = CheckpointClient(Path("/nonexistent/s"), connect_timeout=0.0)
    with pytest.raises(ConnectionFailed, match="no process listens there"):
        await client.open(MANIFEST)
    await client.close()


async def test_a_checkpoint_that_comes_back_is_asked_again(
    server: CheckpointServer, client: CheckpointClient, recorder: Recorder, tmp_path: Path
) -> None:
    await client.open(MANIFEST)
    recorder.go.clear()
    unanswered = asyncio.create_task(client.commit_chunk(WRITTEN))
    await recorder.was_asked.wait()
    await server.close()
    later = Recorder()
    successor = CheckpointServer(later, MANIFEST)
    await successor.start(tmp_path / "s")
    assert await unanswered == CommitResult(True, changed=True)
    assert later.asked == ["open", WRITTEN]
    await client.close()
    await successor.close()


@pytest.mark.parametrize("data", [b"\xff\xff\xff\xff", b"\0\0\0\2no", b"\0\0\0\2[]"])
async def test_an_invalid_frame_is_refused(data: bytes) -> None:
    reader = asyncio.StreamReader()
    reader.feed_data(data)
    reader.feed_eof()
    with pytest.raises(ValueError, match=r"."):
        await read_frame(reader)


async def test_a_frame_that_is_cut_is_the_end() -> None:
    reader = asyncio.StreamReader()
    reader.feed_data(encode_frame({"a": 1})[:-1])
    reader.feed_eof()
    assert await read_frame(reader) is None
