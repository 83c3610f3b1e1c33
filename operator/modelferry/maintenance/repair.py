"""Repairs published files that differ from what was published, by fetching only the damaged chunks.

A published file is never written to, not even here. Each damaged file is assembled as ``incoming/<revision>/<path>``,
from its intact chunks and from those that are fetched. When the digests of all chunks and of the entire file are right,
one rename replaces the damaged file. Writing the 16 MiB in place would save the copy, but

- consumers map these files, so the weights would change under a running inference, page by page;
- a crash in the middle would leave a chunk that is neither the old nor the new one, in a file that consumers read;
- the storage medium may be damaged: other blocks are better than the same ones, and an unreadable block may refuse to
  be overwritten.

The copy takes the disk space of one file during the repair (none on file systems that share blocks between files, such
as XFS and Btrfs). A consumer that has the old file open keeps the old bytes until it opens the file again.

Nothing is written to chunks.db: its rows say what the chunks must be, before and after the repair. So a crash cannot
make them wrong, and the next repair finds by their digests the chunks that a stopped repair has assembled.
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

from modelferry.checkpoint import hub_links, published_revisions
from modelferry.checkpoint.api import (
    CommitResult,
    OpenedFile,
    OpenResult,
    QuarantinedMirror,
    Telemetry,
    VerifyResult,
    WrittenChunk,
)
from modelferry.checkpoint.directory_lock import acquire_lock
from modelferry.checkpoint.disk_errors import disk_errors
from modelferry.engine.download.coordinator import DownloadCoordinator, Settings
from modelferry.errors import InvalidSpec, ModelferryError, SourceChanged
from modelferry.http.client import HTTPClient
from modelferry.maintenance.repair_files import Repairer
from modelferry.maintenance.revision_check import RevisionReport
from modelferry.manifest import Digest, FileEntry, Manifest
from modelferry.messages.earlier_revisions import RetainedRevision
from modelferry.storage import layout
from modelferry.storage.tree import Tree

T = TypeVar("T")


@contextmanager
def locked(directory: Path) -> Iterator[None]:
    """Hold the directory's lock while the block runs, so that nothing is published or removed meanwhile. Missing links
    of the Hugging Face layout are made first. Raises DirectoryBusy, MachineError."""
    doing = f"locking {directory}"
    with disk_errors(doing):
        tree = Tree(directory)
    try:
        with disk_errors(doing):
            tree.make_directories(layout.STATE)
            lock = acquire_lock(tree)
        try:
            with disk_errors(doing):
                revision = published_revisions.current_revision(tree)
                if revision and (marker := published_revisions.read_marker(tree, revision)) is not None:
                    hub_links.restore_links(tree, revision, [file.path for file in marker.files])
            yield
        finally:
            os.close(lock)
    finally:
        tree.close()


def plan_repair(report: RevisionReport, source: Manifest) -> Manifest:
    """What to fetch: the damaged files of `report`, as they were published, from the locations in `source`. Pure.

    Raises InvalidSpec if `source` lacks a damaged file, and SourceChanged if it has another one.
    """
    entries_by_path = {entry.path: entry for entry in source.files}
    entries = []
    for file in report.damaged:
        entry = entries_by_path.get(file.path)
        if entry is None:
            raise InvalidSpec(
                f"{file.path} is {file.state}, and the source does not list it; add it to the source's files"
            )
        digest = Digest.parse(file.digest)
        is_same = entry.digest is None or entry.digest.algorithm != digest.algorithm or entry.digest == digest
        if entry.size != file.size or not is_same:
            raise SourceChanged(
                f"{file.path}: the source has another file now than revision {report.revision} ({entry.size} bytes,"
                f" {entry.digest or 'no digest'}; published were {file.size} bytes, {digest}); pull it as a new"
                " revision",
                file=file.path,
            )
        # The published digest, which is always known, and not the one that the server declares now.
        entries.append(FileEntry(file.path, file.size, digest, entry.locations))
    return Manifest(report.revision, tuple(sorted(entries, key=lambda entry: entry.path)))


@dataclass(frozen=True, slots=True)
class RepairResult:
    """``files``: paths that were repaired. ``fetched``: bytes received over the network. ``retries``: of requests."""

    files: tuple[str, ...]
    fetched: int
    retries: int


class RepairCheckpoint:
    """Implements api.Checkpoint with a `Repairer` in a thread of its own. It does not change chunks.db."""

    def __init__(self, repairer: Repairer) -> None:
        self._repairer = repairer
        self._thread = ThreadPoolExecutor(1, "repair")

    async def open(self, manifest: Manifest) -> OpenResult:
        """See api.Checkpoint."""
        return await self._run(self._repairer.open, manifest)

    async def commit_chunk(self, chunk: WrittenChunk) -> CommitResult:
        """See api.Checkpoint."""
        return await self._run(self._repairer.commit_chunk, chunk)

    async def mark_pending(self, file: int, index: int) -> None:
        """See api.Checkpoint."""
        await self._run(self._repairer.mark_pending, file, index)

    async def restart_file(self, file: int, generation: int) -> OpenedFile:
        """See api.Checkpoint."""
        return await self._run(self._repairer.restart_file, file, generation)

    async def verify_file(self, file: int) -> VerifyResult:
        """See api.Checkpoint."""
        return await self._run(self._repairer.verify_file, file)

    async def quarantine(self, found: QuarantinedMirror) -> None:
        """See api.Checkpoint. Not recorded: the quarantine ends with this repair."""

    async def publish(self) -> tuple[RetainedRevision, ...]:
        """See api.Checkpoint. A repair changes no revision."""
        await self._run(self._repairer.publish)
        return ()

    async def report_telemetry(self, telemetry: Telemetry) -> None:
        """See api.Checkpoint. Not shown: a repair fetches few chunks."""

    async def report_failure(self, error: ModelferryError) -> None:
        """See api.Checkpoint. Not shown here: the command shows the error, which is raised to it."""

    async def close(self) -> None:
        """Close the directory. Incomplete copies stay, for the next repair."""
        await self._run(self._repairer.close)
        self._thread.shutdown(wait=False)

    async def _run(self, function: Callable[..., T], *arguments: object) -> T:
        return await asyncio.get_running_loop().run_in_executor(self._thread, lambda: function(*arguments))


async def repair(
    directory: Path,
    report: RevisionReport,
    source: Manifest,
    http_client: HTTPClient,
    settings: Settings,
    *,
    jitter: Callable[[], float] = random.random,
) -> RepairResult:
    """Repair the damaged files of `report` in `directory`, with chunks from the locations in `source`.

    The caller holds the directory's lock (`locked`). Closes `http_client`. Raises what `plan_repair` and the download
    raise. After an error, the files that were repaired before it are in place, and the others are as before.
    """
    repairer = Repairer(directory, report)
    checkpoint = RepairCheckpoint(repairer)
    try:
        result = await DownloadCoordinator(
            plan_repair(report, source), checkpoint, http_client, settings, jitter=jitter
        ).run()
        return RepairResult(tuple(repairer.repaired), result.fetched, result.retries)
    finally:
        await checkpoint.close()
