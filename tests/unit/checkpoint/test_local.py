"""The asynchronous checkpoint: progress during a download, and commits of small files."""

from __future__ import annotations

import asyncio
from pathlib import Path

import pytest

from modelferry.checkpoint.api import CommitResult, Telemetry, WrittenChunk
from modelferry.checkpoint.local import LocalCheckpoint
from modelferry.checkpoint.worker import CheckpointWorker
from modelferry.manifest import FileEntry, Location
from modelferry.manifest.entries import content_addressed
from modelferry.messages import ChunkMap

CHUNK = 4096


async def test_a_chunk_that_is_committed_between_two_telemetry_reports_counts_once(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("modelferry.manifest.chunks.CHUNK_SIZE", CHUNK)
    manifest = content_addressed((FileEntry("a", 4 * CHUNK, None, (Location("https://x/"),)),))
    checkpoint = LocalCheckpoint(tmp_path)
    try:
        await checkpoint.open(manifest)
        await checkpoint.report_telemetry(Telemetry(in_flight=CHUNK + 100))
        assert checkpoint.progress().received == CHUNK + 100
        inode = (tmp_path / ".modelferry/incoming" / manifest.revision / "a").stat().st_ino
        result = await checkpoint.commit_chunk(WrittenChunk(0, 0, 0, inode, '"v"', "source"))
        assert result.committed
        assert (checkpoint.progress().done, checkpoint.progress().received) == (CHUNK, CHUNK + 100)
        await checkpoint.report_telemetry(Telemetry(in_flight=200, active=(("a", CHUNK + 50), ("a", 0))))
        assert checkpoint.chunks() == ChunkMap(manifest.revision, 4, 1, 1, 0, 1, "dipp")
        assert checkpoint.progress().received == CHUNK + 200
    finally:
        await checkpoint.close()


async def test_small_files_that_are_reported_one_after_the_other_are_committed_together(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    commits: list[int] = []
    commit = CheckpointWorker.commit_chunks

    def counted(self: CheckpointWorker, reports: list[WrittenChunk]) -> list[CommitResult]:
        commits.append(len(reports))
        return commit(self, reports)

    monkeypatch.setattr(CheckpointWorker, "commit_chunks", counted)
    manifest = content_addressed(
        tuple(FileEntry(str(number), CHUNK, None, (Location("https://x/"),)) for number in range(40))
    )
    checkpoint = LocalCheckpoint(tmp_path)
    try:
        await checkpoint.open(manifest)
        incoming = tmp_path / ".modelferry/incoming" / manifest.revision
        commits_of_files = []
        for number, entry in enumerate(manifest.files[:10]):
            chunk = WrittenChunk(number, 0, 0, (incoming / entry.path).stat().st_ino, '"v"', "source")
            commits_of_files.append(asyncio.create_task(checkpoint.commit_chunk(chunk)))
            await asyncio.sleep(0)
        assert all(result.committed for result in await asyncio.gather(*commits_of_files))
        assert commits == [10]
    finally:
        await checkpoint.close()
