"""Put published files right that are not what was verified any more, by fetching the damaged chunks alone.

A published file is never written to, not even here: each damaged file is put together anew beside the others, as
``incoming/<revision>/<path>``, from the chunks that are whole and those that are fetched; when every chunk and the
whole digest are right, one rename puts it in the damaged one's place. Writing the 16 MiB in place would spare the copy,
but

- consumers map these files, and would see weights change under a running inference, page by page;
- a crash in the middle would leave a chunk that is neither the old nor the new one, in a file that everybody reads;
- the damage may be the medium's: other blocks are better than the same ones again, and an unreadable block may not let
  itself be overwritten at all.

The copy costs one file's room for as long as it takes (none where the file system shares blocks between files, XFS and
Btrfs). Who has the old file open keeps the old bytes until it opens the file again.

Nothing is written to chunks.db: its rows say what the chunks shall be, before and after. So there is nothing for a
crash to bring out of step, and what a stopped repair has put together is found by its digests and used again.
"""

from __future__ import annotations

import asyncio
import os
import random
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TypeVar

from modelferry.engine.checkpoint.api import (
    CommitResult,
    OpenedFile,
    OpenResult,
    QuarantinedMirror,
    Telemetry,
    VerifyResult,
    WrittenChunk,
)
from modelferry.engine.checkpoint.directory_lock import acquire
from modelferry.engine.download.coordinator import DownloadCoordinator, Settings
from modelferry.engine.maintenance.repair_files import Repairer, disk_errors
from modelferry.engine.maintenance.revision_check import Report
from modelferry.engine.storage import layout
from modelferry.engine.storage.tree import Tree
from modelferry.errors import InvalidSpec, ModelferryError, SourceChanged
from modelferry.http.client import HTTPClient
from modelferry.manifest import Digest, FileEntry, Manifest

T = TypeVar("T")


@contextmanager
def held(directory: Path) -> Iterator[None]:
    """Hold the directory's lock, so that nothing is published or removed meanwhile; raises DirectoryBusy."""
    with disk_errors(directory):
        tree = Tree(directory)
    try:
        with disk_errors(directory):
            tree.make_directories(layout.STATE)
            lock = acquire(tree)
        try:
            yield
        finally:
            os.close(lock)
    finally:
        tree.close()


def plan(report: Report, source: Manifest) -> Manifest:
    """What is to be fetched: the damaged files of `report`, as they were published, from the places of `source`.

    Pure. Raises InvalidSpec where `source` does not name a damaged file, and SourceChanged where it has another one.
    """
    known = {entry.path: entry for entry in source.files}
    entries = []
    for file in report.damaged:
        entry = known.get(file.path)
        if entry is None:
            raise InvalidSpec(f"{file.path} is {file.state}, and no place of it is named; add it to the source's files")
        digest = Digest.parse(file.digest)
        same = entry.digest is None or entry.digest.algorithm != digest.algorithm or entry.digest == digest
        if entry.size != file.size or not same:
            raise SourceChanged(
                f"{file.path}: the source has another file now than revision {report.revision} ({entry.size} bytes,"
                f" {entry.digest or 'no digest'}, where {file.size} bytes, {digest} were published); pull it as a new"
                " revision",
                file=file.path,
            )
        # What was published decides, not what a server says of it now: its digest is known in every case.
        entries.append(FileEntry(file.path, file.size, digest, entry.locations))
    return Manifest(report.revision, tuple(sorted(entries, key=lambda entry: entry.path)))


@dataclass(frozen=True, slots=True)
class Repaired:
    """``files``: paths that were put right. ``fetched`` bytes came over the network for them."""

    files: tuple[str, ...]
    fetched: int
    retries: int


class RepairCheckpoint:
    """Implements api.Checkpoint for the fetcher: a `Repairer` in a thread of its own, instead of the one that keeps
    chunks.db."""

    def __init__(self, repairer: Repairer) -> None:
        self._repairer = repairer
        self._thread = ThreadPoolExecutor(1, "repair")

    async def open(self, manifest: Manifest) -> OpenResult:
        """See api.Checkpoint."""
        return await self._do(self._repairer.open, manifest)

    async def commit_chunk(self, chunk: WrittenChunk) -> CommitResult:
        """See api.Checkpoint."""
        return await self._do(self._repairer.commit_chunk, chunk)

    async def mark_pending(self, file: int, index: int) -> None:
        """See api.Checkpoint."""
        await self._do(self._repairer.mark_pending, file, index)

    async def restart_file(self, file: int, generation: int) -> OpenedFile:
        """See api.Checkpoint."""
        return await self._do(self._repairer.restart_file, file, generation)

    async def verify_file(self, file: int) -> VerifyResult:
        """See api.Checkpoint."""
        return await self._do(self._repairer.verify_file, file)

    async def quarantine(self, found: QuarantinedMirror) -> None:
        """See api.Checkpoint; nothing is written to chunks.db, so it holds for this repair."""

    async def publish(self) -> None:
        """See api.Checkpoint."""
        await self._do(self._repairer.publish)

    async def report_telemetry(self, telemetry: Telemetry) -> None:
        """See api.Checkpoint; a few chunks are soon there."""

    async def report_failure(self, error: ModelferryError) -> None:
        """See api.Checkpoint; the error is raised to the one who shows it."""

    async def close(self) -> None:
        """Let go of the directory. What is not finished stays, for the next repair."""
        await self._do(self._repairer.close)
        self._thread.shutdown(wait=False)

    async def _do(self, work: Callable[..., T], *arguments: object) -> T:
        return await asyncio.get_running_loop().run_in_executor(self._thread, lambda: work(*arguments))


async def repair(
    directory: Path,
    report: Report,
    source: Manifest,
    http_client: HTTPClient,
    settings: Settings,
    *,
    jitter: Callable[[], float] = random.random,
) -> Repaired:
    """Put right what `report` found damaged in `directory`, with chunks from the places of `source`.

    The caller holds the directory's lock; `http_client` is closed. Raises InvalidSpec or SourceChanged where `source`
    does not have a damaged file, and what the fetcher raises; files that were repaired by then stay so, and nothing is
    worse than before.
    """
    repairer = Repairer(directory, report)
    checkpoint = RepairCheckpoint(repairer)
    try:
        result = await DownloadCoordinator(plan(report, source), checkpoint, http_client, settings, jitter=jitter).run()
        return Repaired(tuple(repairer.repaired), result.fetched, result.retries)
    finally:
        await checkpoint.close()
