"""What becomes of a chunk that is committed while its attempts are cancelled."""

from __future__ import annotations

from modelferry.checkpoint.api import OpenedFile, VerifyResult
from modelferry.engine.download.attempt import Attempt
from modelferry.engine.download.events import ChunkCommitted, ChunkTooSlow, VersionConflict
from modelferry.engine.download.tasks import DigestTask
from modelferry.engine.download.transitions import ChunkState, FileState
from modelferry.manifest import Digest, FileEntry, Location
from unit.engine.download.stub_download import StubDownload

LOCATIONS = (Location("https://slow/a", "slow"), Location("https://fast/a", "fast"))
ENTRY = FileEntry("a", 10, Digest("md5", "0" * 32), LOCATIONS)


MATCHES = VerifyResult(True)


async def begun(verified: VerifyResult = MATCHES) -> tuple[StubDownload, Attempt]:
    """The only chunk of a file is begun at the mirror "slow"."""
    download = StubDownload(ENTRY, OpenedFile(0, False, (0,)), "slow", "fast", verified=verified)
    attempt = download.begin(download.queued[0], "slow")
    await download.run(attempt)
    return download, attempt


async def committing(verified: VerifyResult = MATCHES) -> tuple[StubDownload, ChunkTooSlow]:
    """The same; the checkpoint commits the chunk while the attempt is being cancelled."""
    download, attempt = await begun(verified)
    download.write(attempt)
    download.when_cancelled[attempt] = ChunkCommitted(attempt, 0)
    return download, ChunkTooSlow(download.file, download.file.assemblies[0])


async def test_the_last_chunk_that_is_committed_while_it_is_reassigned_has_the_digest_compared() -> None:
    download, too_slow = await committing()
    await download.commands.apply(too_slow)
    assert (download.file.missing, len(download.state.queue)) == (set(), 0)
    assert [attempt.task for attempt in download.running] == [DigestTask(0)]
    await download.finish()
    assert download.state.complete


async def test_a_chunk_that_is_committed_while_it_is_reassigned_counts_for_its_mirror() -> None:
    download, too_slow = await committing()
    await download.commands.apply(too_slow)
    assert download.state.mirrors.states["slow"].chunks == 1
    assert download.file.locations[0].delivered
    await download.finish()


async def test_a_chunk_that_is_reassigned_is_fetched_again_from_another_mirror() -> None:
    download, _ = await begun()
    await download.commands.apply(ChunkTooSlow(download.file, download.file.assemblies[0]))
    (again,) = download.queued
    assert (again.chunk, again.indivisible, again.avoid) == (download.file.chunks[0], True, "slow")
    assert not download.file.assemblies
    assert download.running == []


async def test_a_chunk_with_parts_of_two_versions_is_fetched_again_in_one_request() -> None:
    download, attempt = await begun()
    await download.commands.apply(VersionConflict(attempt))
    (again,) = download.queued
    assert (again.chunk, again.indivisible, again.avoid) == (download.file.chunks[0], True, "")
    assert download.file.chunk_state(0) is ChunkState.PENDING
    assert download.state.retries == 1


async def test_a_chunk_that_is_committed_while_its_file_is_restarted_has_no_digest_compared() -> None:
    download, _ = await committing(VerifyResult(False, missing=(0,)))
    await download.commands.apply(download.lost_generation())
    assert download.running == []
    assert (download.file.generation, download.file.state, download.file.missing) == (1, FileState.FETCHING, {0})
    assert [task.chunk for task in download.queued] == [download.file.chunks[0]]
