"""What becomes of a file whose chunk is committed in the moment in which its attempts are cancelled."""

from __future__ import annotations

import asyncio

from modelferry.engine.checkpoint.api import CommitResult, OpenedFile, VerifyResult
from modelferry.engine.download.events import Attempt, ChunkReported, DigestCompared
from modelferry.engine.download.file_download import FileDownload
from modelferry.engine.download.range_task import RangeTask
from modelferry.engine.download.state import DownloadState
from modelferry.engine.download.verification import FileStateMachine
from modelferry.engine.mirrors import Mirror, MirrorRegistry
from modelferry.engine.pacing import ProgressDeadline
from modelferry.manifest import Digest, FileEntry, Location
from unit.engine.stub_checkpoint import StubCheckpoint

LOCATIONS = (Location("https://slow/a", "slow"), Location("https://fast/a", "fast"))
ENTRY = FileEntry("a", 10, Digest("md5", "0" * 32), LOCATIONS)
COMMITTED = CommitResult(True)


def begun() -> tuple[DownloadState, FileDownload, FileStateMachine]:
    """The only chunk of a file is begun at the mirror "slow"."""
    mirrors = MirrorRegistry.of(16, [Mirror("slow", 0), Mirror("fast", 0)])
    download = DownloadState(mirrors, ProgressDeadline(300.0, 0.0))
    file = FileDownload.of(0, ENTRY, OpenedFile(0, False, (0,)))
    download.files.append(file)
    for location in file.locations:
        mirrors.register(location.mirror, location.origin, 0.0)
    file.assembly(file.chunks[0]).mirror = "slow"
    return download, file, FileStateMachine(download, StubCheckpoint(VerifyResult(True)), lambda: 1.0)


async def commits_when_cancelled(download: DownloadState, file: FileDownload) -> None:
    """An attempt that waits for the checkpoint, whose receipt arrives while the attempt is being cancelled."""
    task, location = RangeTask.of(file.chunks[0]), file.locations[0]

    async def attempt() -> ChunkReported:
        try:
            await asyncio.Event().wait()
        except asyncio.CancelledError:
            return ChunkReported(task, location, COMMITTED)
        raise AssertionError("nothing ends it but a cancellation")

    download.in_flight.spawn(attempt(), Attempt.of(file, task, location))
    await asyncio.sleep(0)


async def test_the_last_chunk_that_is_committed_while_it_is_reassigned_has_the_digest_compared() -> None:
    download, file, machine = begun()
    await commits_when_cancelled(download, file)
    await machine.reassign(file, file.assemblies[0])
    assert (file.missing, len(download.backlog)) == (set(), 0)
    (comparing,) = download.in_flight.tasks
    assert await comparing == DigestCompared(file, VerifyResult(True))


async def test_a_chunk_that_is_committed_while_it_is_reassigned_counts_for_its_mirror() -> None:
    download, file, machine = begun()
    await commits_when_cancelled(download, file)
    await machine.reassign(file, file.assemblies[0])
    assert download.mirrors.states["slow"].chunks == 1
    assert file.locations[0].delivered
    await asyncio.gather(*download.in_flight.tasks)


async def test_a_chunk_that_is_reassigned_is_fetched_again_from_another_mirror() -> None:
    download, file, machine = begun()
    await machine.reassign(file, file.assemblies[0])
    (again,) = download.backlog
    assert (again.chunk, again.whole, again.avoid) == (file.chunks[0], True, "slow")
    assert not file.assemblies
