"""The checkpoint's work on the disk: blocking, and always in one thread. `local` is its asynchronous interface."""

from __future__ import annotations

import os
import sqlite3
from collections.abc import Callable, Sequence
from contextlib import AbstractContextManager, ExitStack, suppress
from itertools import groupby
from pathlib import Path

from modelferry.checkpoint import hub_links, published_revisions, publishing, recovery
from modelferry.checkpoint.api import (
    CommitResult,
    OpenedFile,
    OpenResult,
    QuarantinedMirror,
    StatTotals,
    VerifyResult,
    WrittenChunk,
)
from modelferry.checkpoint.chunk_store import ChunkStore
from modelferry.checkpoint.commit_batch import CommitBatch
from modelferry.checkpoint.content_check import mistaken_file
from modelferry.checkpoint.current_history import previous_revision, read_history
from modelferry.checkpoint.digests import ChunkReader, ShortRead
from modelferry.checkpoint.directory_lock import acquire_lock
from modelferry.checkpoint.disk_errors import disk_errors
from modelferry.checkpoint.file_states import FileState
from modelferry.errors import DiskError
from modelferry.manifest import SMALL_CHUNK, Manifest
from modelferry.messages.earlier_revisions import MountWindow, RetainedRevision
from modelferry.resource.hub_cache import HubCache
from modelferry.storage import file_io, layout
from modelferry.storage.capabilities import Capabilities, probe
from modelferry.storage.syncer import Syncer
from modelferry.storage.tree import Tree


def read_boot_id() -> str:
    """The kernel's identifier of this boot; "" on systems without one, on which boots cannot be distinguished."""
    try:
        return Path("/proc/sys/kernel/random/boot_id").read_text().strip()
    except OSError:
        return ""


class CheckpointWorker:
    """Owns one target directory from `open` to `close`. The methods of `api.Checkpoint` do what is described there."""

    def __init__(
        self,
        root: Path,
        *,
        boot_id: str,
        clock: Callable[[], float],
        windows: Sequence[MountWindow] = (),
        hub_cache: HubCache | None = None,
    ) -> None:
        """`root`: the target directory; it is created if only its parent exists, because in a claim several models have
        one directory each. `clock` gives seconds since 1970, which are recorded. `windows`: when running pods mounted
        the model. `hub_cache`: the layout of what is published, if not plain."""
        self.root = root
        self._hub_cache = hub_cache
        self.states: list[FileState] = []
        self.rehashed = 0
        self.published = False
        self._boot_id = boot_id
        self._clock = clock
        self._windows = windows
        self._retained: tuple[RetainedRevision, ...] = ()
        self._tree: Tree | None = None
        self._lock = -1
        self._capabilities = Capabilities()
        self._chunk_store: ChunkStore | None = None
        self._manifest: Manifest | None = None
        self._reader = ChunkReader()
        self._syncer = Syncer()

    @property
    def tree(self) -> Tree:
        """The open directory."""
        assert self._tree is not None
        return self._tree

    @property
    def chunk_store(self) -> ChunkStore:
        """The open chunks.db."""
        assert self._chunk_store is not None
        return self._chunk_store

    @property
    def manifest(self) -> Manifest:
        """The manifest that is being fetched."""
        assert self._manifest is not None
        return self._manifest

    def open(self, manifest: Manifest) -> OpenResult:
        """See api.Checkpoint. May be called again, after the fetching side restarted."""
        with self._disk_errors():
            notes = self._open_directory()
            if self._hub_cache is not None:
                hub_links.check_layout(self.tree, self._capabilities, self._hub_cache, manifest)
            self._manifest = manifest
            recovered = recovery.recover(self.tree, self.chunk_store, manifest, self._boot_id, self._set_states)
            self.published = recovered.published
            self.rehashed += recovered.rehashed
            if recovered.published:
                publishing.complete_publication(
                    self.tree,
                    manifest.revision,
                    self._clock,
                    symlinks=self._capabilities.symlinks,
                    hub_cache=self._hub_cache,
                )
            current = published_revisions.current_revision(self.tree)
            self._remove_old_revisions(previous_revision(read_history(self.tree), current))
            if not recovered.published:
                recovery.preallocate(
                    self.tree,
                    manifest,
                    recovered.files,
                    self._retained,
                    case_sensitive=self._capabilities.case_sensitive,
                )
                notes += self._capabilities.notes()
            return OpenResult(
                str(self.root),
                recovered.published,
                tuple(state.opened() for state in recovered.files),
                recovered.rehashed,
                (*notes, *recovered.notes),
                self.chunk_store.quarantined(manifest.revision),
                self._retained,
            )

    def record_stats(self, stats: StatTotals) -> None:
        """Add to the stats of the manifest's revision."""
        if self._chunk_store is not None and self._manifest is not None:
            self._chunk_store.record_stats(self._manifest.revision, stats)

    def flush_stats(self) -> None:
        """Write the recorded stats. They are lost if the disk fails: no download ends because of them."""
        with suppress(sqlite3.Error):
            if self._chunk_store is not None:
                self._chunk_store.flush_stats()

    def close(self) -> None:
        """Close the directory and release its lock. May be called more than once."""
        try:
            self.flush_stats()
        finally:
            if self._chunk_store is not None:
                self._chunk_store.close()
            if self._lock >= 0:
                os.close(self._lock)
            if self._tree is not None:
                self._tree.close()
            self._syncer.close()
            self._chunk_store, self._lock, self._tree = None, -1, None

    def is_small(self, chunk: WrittenChunk) -> bool:
        """Is it of a small file, beside which many others are probably fetched?"""
        return self.states[chunk.file].entry.size <= SMALL_CHUNK

    def commit_chunks(self, chunks: list[WrittenChunk]) -> list[CommitResult]:
        """Commit several chunks in one transaction, and with them the digests of the files that they complete. The
        chunks are synced while they are read back and hashed. The results are in the order of `chunks`."""
        order = sorted(range(len(chunks)), key=lambda i: (chunks[i].file, chunks[i].index))
        batches: list[CommitBatch] = []
        with self._disk_errors(), ExitStack() as stack:
            for file, numbers in groupby(order, key=lambda i: chunks[i].file):
                state = self.states[file]
                batch = CommitBatch(state, stack.enter_context(self._opened(state)), {i: chunks[i] for i in numbers})
                batch.reject_stale()
                batch.start_writeback()
                batches.append(batch)
            self._sync_and_read_back([batch for batch in batches if batch.written])
            completed = [batch.state for batch in batches if batch.completes_file]
            rows = [item.row for batch in batches for item in batch.checked.values()]
            self.chunk_store.commit_chunks(rows, [(state.id, str(state.running_digest)) for state in completed])
        results: dict[int, CommitResult] = {}
        for batch in batches:
            batch.mark_done()
            results |= batch.results
        for state in completed:
            state.mark_verified()
        return [results[i] for i in range(len(chunks))]

    def mark_pending(self, file: int, index: int) -> None:
        """See api.Checkpoint."""
        state = self.states[file]
        with self._disk_errors():
            self.chunk_store.mark_pending([(state.id, index)])
        state.mark_pending(index)
        state.refetched.add(index)
        state.phase = "repairing"

    def restart_file(self, file: int, generation: int) -> OpenedFile:
        """See api.Checkpoint."""
        state = self.states[file]
        if state.generation == generation:
            with self._disk_errors():
                self.chunk_store.restart_file(state.id, generation + 1)
                path = self._incoming_path(state)
                recovery.create_file(self.tree, path, state.entry.size)
                self.tree.sync_directory(path.rpartition("/")[0])
            state.mark_restarted(generation + 1)
        return state.opened()

    def verify_file(self, file: int) -> VerifyResult:
        """See api.Checkpoint."""
        state = self.states[file]
        if missing := state.missing():
            return VerifyResult(False, missing=missing)
        if state.verified:
            return VerifyResult(True)
        if state.phase != "repairing":
            state.phase = "verifying"
        with self._disk_errors(), self._opened(state) as fd:
            self._advance_digest(state, fd, len(state.rows))
            actual = str(state.running_digest)
            expected = state.entry.digest
            mistaken = mistaken_file(fd, state.entry) if actual != str(expected) else ""
            if expected is None and mistaken:
                return VerifyResult(False, mistaken=mistaken)
            if expected is None or actual == str(expected):
                self.chunk_store.mark_verified(state.id, actual)
                state.mark_verified()
                return VerifyResult(True)
            state.running_digest.reset()
            bad = tuple(
                row.index for row in state.rows if not self._reader.is_intact(fd, state.chunk(row.index), row.digest)
            )
            self.chunk_store.mark_pending((state.id, index) for index in bad)
        for index in bad:
            state.mark_pending(index)
        state.mismatch = not bad
        if bad:
            return VerifyResult(False, missing=bad)
        mirrors = tuple((mirror, len(list(rows))) for mirror, rows in groupby(row.mirror for row in state.rows))
        return VerifyResult(False, str(expected), actual, mirrors=mirrors, mistaken=mistaken)

    def quarantine(self, found: QuarantinedMirror) -> None:
        """See api.Checkpoint."""
        with self._disk_errors():
            self.chunk_store.quarantine(self.manifest.revision, found)

    def catch_up(self) -> bool:
        """Add one chunk that is done to the running digest of its file; False if there is none to add."""
        for state in self.states:
            index = state.running_digest.next
            if not state.verified and state.phase == "fetching" and index < len(state.rows) and state.rows[index].done:
                with self._disk_errors(), self._opened(state) as fd:
                    self._advance_digest(state, fd, index + 1)
                return True
        return False

    def publish(self) -> tuple[RetainedRevision, ...]:
        """See api.Checkpoint."""
        if not all(state.verified for state in self.states):
            raise AssertionError("publish before every file is verified")
        if not self.published:
            with self._disk_errors():
                publishing.sync_revision(self.tree, self.manifest, self.states, self._syncer)
                previous = publishing.publish_revision(
                    self.tree,
                    self.chunk_store,
                    self.manifest,
                    self._clock,
                    symlinks=self._capabilities.symlinks,
                    hub_cache=self._hub_cache,
                )
                self.published = True
                self._remove_old_revisions(previous)
        return self._retained

    def _remove_old_revisions(self, previous: str | None) -> None:
        wanted = self.manifest.revision
        self._retained = publishing.remove_old_revisions(self.tree, self.chunk_store, previous, wanted, self._windows)

    def _open_directory(self) -> list[str]:
        """Open, lock and prepare the directory if that is not done yet; returns notes for a person."""
        if self._tree is not None:
            return []
        self.root.mkdir(exist_ok=True)
        self._tree, self._syncer = Tree(self.root), Syncer()
        try:
            recovery.claim_directory(self._tree)
            self._lock = acquire_lock(self._tree)
            self._capabilities = probe(self._tree)
            self._chunk_store, notes = recovery.open_chunk_store(self._tree, self._boot_id, self._clock())
        except BaseException:
            self.close()
            raise
        return notes

    def _set_states(self, states: list[FileState]) -> None:
        self.states = states

    def _sync_and_read_back(self, batches: list[CommitBatch]) -> None:
        # Chunks are reported after they are written, so a sync that starts now includes them.
        with self._syncer.syncing([batch.fd for batch in batches], file_io.fdatasync) as sync_errors:
            for batch in batches:
                batch.read_back(self._reader)
            for batch, error in zip(batches, sync_errors(), strict=True):
                if error is not None:
                    batch.discard_unsynced()

    def _advance_digest(self, state: FileState, fd: int, until: int) -> None:
        """Add chunks to the running digest, up to index `until` (exclusive)."""
        running_digest = state.running_digest
        while running_digest.next < until:
            try:
                self._reader.feed(fd, state.chunk(running_digest.next), (0, running_digest))
            except BaseException as error:
                running_digest.reset()
                if isinstance(error, ShortRead):
                    raise DiskError(f"{state.entry.path} became shorter while it was read; check the disk") from None
                raise
            running_digest.next += 1

    def _incoming_path(self, state: FileState) -> str:
        return layout.incoming_path(self.manifest.revision, state.entry.path)

    def _opened(self, state: FileState) -> AbstractContextManager[int]:
        return self.tree.opened(self._incoming_path(state), os.O_RDWR)

    def _disk_errors(self) -> AbstractContextManager[None]:
        return disk_errors(f"writing to {self.root}")
