"""The checkpoint's work itself: blocking, and always in one thread. `local` is its asynchronous face."""

from __future__ import annotations

import errno
import hashlib
import os
import sqlite3
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager, suppress
from dataclasses import replace
from itertools import groupby
from pathlib import Path

from blake3 import blake3

from modelferry.engine.checkpoint import ready_marker, recovery
from modelferry.engine.checkpoint.api import (
    CommitResult,
    OpenedFile,
    OpenResult,
    QuarantinedMirror,
    StatTotals,
    VerifyResult,
    WrittenChunk,
)
from modelferry.engine.checkpoint.batch import Batch, Checked
from modelferry.engine.checkpoint.chunk_store import ChunkStore
from modelferry.engine.checkpoint.digests import Bounded, Hasher, Reader, ShortRead
from modelferry.engine.checkpoint.directory_lock import acquire
from modelferry.engine.checkpoint.file_states import FileState
from modelferry.engine.storage import file_io, layout
from modelferry.engine.storage.syncer import Syncer
from modelferry.engine.storage.tree import Tree
from modelferry.errors import DiskError, MachineError
from modelferry.manifest import SMALL_CHUNK, Manifest

#: Files that are open at once while a revision is synced.
_SYNCED_AT_ONCE = 64


def read_boot_id() -> str:
    """The kernel's name for this boot; empty on systems that have none, where no boot is told from another."""
    try:
        return Path("/proc/sys/kernel/random/boot_id").read_text().strip()
    except OSError:
        return ""


class CheckpointWorker:
    """Owns one target directory from `open` to `close`."""

    def __init__(self, root: Path, *, boot_id: str, clock: Callable[[], float]) -> None:
        """`root` or its parent exists (in a claim, several models have a directory each). `clock` gives seconds since
        1970, for the records alone."""
        self.root = root
        self.states: list[FileState] = []
        self.rehashed = 0
        self.published = False
        self._boot_id = boot_id
        self._clock = clock
        self._tree: Tree | None = None
        self._lock = -1
        self._ledger: ChunkStore | None = None
        self._manifest: Manifest | None = None
        self._reader = Reader()
        self._syncer = Syncer()

    @property
    def tree(self) -> Tree:
        """The open directory."""
        assert self._tree is not None
        return self._tree

    @property
    def chunk_store(self) -> ChunkStore:
        """The open chunks.db."""
        assert self._ledger is not None
        return self._ledger

    @property
    def manifest(self) -> Manifest:
        """What is being fetched."""
        assert self._manifest is not None
        return self._manifest

    def open(self, manifest: Manifest) -> OpenResult:
        """See api.Checkpoint.open. May be called again, after the fetching side was started anew."""
        with _disk_errors():
            notes = self._enter()
            self._manifest = manifest
            recovered = recovery.recover(self.tree, self.chunk_store, manifest, self._boot_id, self._show)
            self.published = recovered.published
            self.rehashed += recovered.rehashed
            if not recovered.published:
                recovery.preallocate(self.tree, manifest, recovered.files)
            opened = tuple(state.opened() for state in recovered.files)
            notes += recovered.notes
            quarantined_mirrors = self.chunk_store.quarantined(manifest.revision)
            return OpenResult(
                str(self.root), recovered.published, opened, recovered.rehashed, tuple(notes), quarantined_mirrors
            )

    def record_stats(self, stats: StatTotals) -> None:
        """Add to what the manifest's revision has cost."""
        if self._ledger is not None and self._manifest is not None:
            self._ledger.record_stats(self._manifest.revision, stats)

    def flush_stats(self) -> None:
        """Write down what was spent; a disk that does not let us costs no more than that."""
        with suppress(sqlite3.Error):
            if self._ledger is not None:
                self._ledger.flush_stats()

    def close(self) -> None:
        """Let go of everything; may be called more than once."""
        try:
            self.flush_stats()
        finally:
            if self._ledger is not None:
                self._ledger.close()
            if self._lock >= 0:
                os.close(self._lock)
            if self._tree is not None:
                self._tree.close()
            self._syncer.close()
            self._ledger, self._lock, self._tree = None, -1, None

    def is_small(self, report: WrittenChunk) -> bool:
        """Is it of a file that many others may come beside?"""
        return self.states[report.file].entry.size <= SMALL_CHUNK

    def commit_chunks(self, reports: list[WrittenChunk]) -> list[CommitResult]:
        """Sync several chunks while they are read back and hashed, then commit them, and with them the whole digests of
        files that they complete; the receipts are in the order of the reports."""
        receipts: dict[int, CommitResult] = {}
        order = sorted(range(len(reports)), key=lambda i: (reports[i].file, reports[i].index))
        with _disk_errors(), ExitStack() as stack:
            batches = [
                self._batch(self.states[file], {i: reports[i] for i in group}, receipts, stack)
                for file, group in groupby(order, key=lambda i: reports[i].file)
            ]
            current = [batch for batch in batches if batch.reports]
            # Chunks are reported when they are written, so a sync that begins now has all of them.
            with self._syncer.syncing([batch.fd for batch in current], file_io.fdatasync) as synced:
                for batch in current:
                    self._read_back_all(batch, receipts)
                self._take_faults(current, synced(), receipts)
            whole = [batch.state for batch in batches if batch.completes]
            rows = [item.row for batch in batches for item in batch.passed.values()]
            self.chunk_store.commit(rows, [(state.id, str(state.running_digest)) for state in whole])
        for batch in batches:
            for i, item in batch.passed.items():
                batch.state.mark_done(item.row)
                receipts[i] = CommitResult(True, changed=item.changed)
        for state in whole:
            state.mark_verified()
        return [receipts[i] for i in range(len(reports))]

    def mark_pending(self, file: int, index: int) -> None:
        """See api.Checkpoint.mark_pending."""
        state = self.states[file]
        with _disk_errors():
            self.chunk_store.drop([(state.id, index)])
        state.mark_pending(index)
        state.reopened.add(index)
        state.phase = "repairing"

    def restart_file(self, file: int, generation: int) -> OpenedFile:
        """See api.Checkpoint.restart_file."""
        state = self.states[file]
        if state.generation == generation:
            with _disk_errors():
                self.chunk_store.restart(state.id, generation + 1)
                path = self._incoming(state)
                recovery.create(self.tree, path, state.entry.size)
                self.tree.sync_directory(path.rpartition("/")[0])
            state.mark_restarted(generation + 1)
        return state.opened()

    def verify_file(self, file: int) -> VerifyResult:
        """See api.Checkpoint.verify_file."""
        state = self.states[file]
        if missing := state.missing():
            return VerifyResult(False, missing=missing)
        if state.verified:
            return VerifyResult(True)
        if state.phase != "repairing":
            state.phase = "verifying"
        with _disk_errors(), self._opened(state) as fd:
            self._advance(state, fd, len(state.rows))
            actual = str(state.running_digest)
            if state.entry.digest is None or actual == str(state.entry.digest):
                self.chunk_store.verify(state.id, actual)
                state.mark_verified()
                return VerifyResult(True)
            state.running_digest.reset()
            bad = tuple(row.index for row in state.rows if not recovery.intact(self._reader, fd, state, row.index))
            self.chunk_store.drop((state.id, index) for index in bad)
        for index in bad:
            state.mark_pending(index)
        state.mismatch = not bad
        if bad:
            return VerifyResult(False, missing=bad)
        mirrors = tuple((mirror, len(list(rows))) for mirror, rows in groupby(row.mirror for row in state.rows))
        return VerifyResult(False, str(state.entry.digest), actual, mirrors=mirrors)

    def quarantine(self, found: QuarantinedMirror) -> None:
        """See api.Checkpoint.quarantine."""
        with _disk_errors():
            self.chunk_store.quarantine(self.manifest.revision, found)

    def catch_up(self) -> bool:
        """Take one more chunk into the whole digest of a file whose order has reached it; False where there is none."""
        for state in self.states:
            index = state.running_digest.next
            if not state.verified and state.phase == "fetching" and index < len(state.rows) and state.rows[index].done:
                with _disk_errors(), self._opened(state) as fd:
                    self._advance(state, fd, index + 1)
                return True
        return False

    def publish(self) -> None:
        """See api.Checkpoint.publish; the order is the package's point 5."""
        manifest, tree = self.manifest, self.tree
        if not all(state.verified for state in self.states):
            raise AssertionError("publish before every file is verified")
        if self.published:
            return
        with _disk_errors():
            for start in range(0, len(self.states), _SYNCED_AT_ONCE):
                self._sync_whole(self.states[start : start + _SYNCED_AT_ONCE])
            for directory in sorted(recovery.directories(manifest)):
                tree.sync_directory(layout.incoming_path(manifest.revision, directory))
            tree.make_directories(layout.REVISIONS)
            tree.rename(layout.incoming_path(manifest.revision), layout.published_path(manifest.revision))
            now = self._clock()
            self.chunk_store.publish(manifest, now)
            tree.write_atomically(layout.marker_path(manifest.revision), self._marker(now).encode())
            previous = ready_marker.current(tree)
            tree.symlink(layout.published_path(manifest.revision), layout.CURRENT)
            self.published = True
            self._retire(previous)

    def _enter(self) -> list[str]:
        if self._tree is not None:
            return []
        self.root.mkdir(exist_ok=True)
        self._tree, self._syncer = Tree(self.root), Syncer()
        try:
            recovery.claim(self._tree)
            self._lock = acquire(self._tree)
            self._ledger, notes = recovery.open_ledger(self._tree, self._boot_id, self._clock())
        except BaseException:
            self.close()
            raise
        return notes

    def _show(self, states: list[FileState]) -> None:
        self.states = states

    def _batch(
        self, state: FileState, reports: dict[int, WrittenChunk], receipts: dict[int, CommitResult], stack: ExitStack
    ) -> Batch:
        """Open the file for as long as `stack` does, and have what is reported of it on its way to the disk."""
        fd = stack.enter_context(self._opened(state))
        batch = Batch(state, fd, reports)
        current = (state.generation, os.fstat(fd).st_ino)
        for i, report in list(reports.items()):
            if (report.generation, report.inode) != current:
                receipts[i] = CommitResult(False, "stale")
            elif report.index in state.doubted:
                state.doubted.remove(report.index)
                receipts[i] = CommitResult(False, "disk")
            else:
                continue
            del reports[i]
        for report in reports.values():
            chunk = state.chunk(report.index)
            file_io.start_writeback(fd, chunk.start, chunk.end)
        return batch

    def _read_back_all(self, batch: Batch, receipts: dict[int, CommitResult]) -> None:
        for i, report in batch.reports.items():
            row = self._read_back(batch.state, batch.fd, report)
            if isinstance(row, CommitResult):
                receipts[i] = row
            else:
                batch.passed[i] = row

    def _take_faults(
        self, batches: list[Batch], faults: list[MachineError | None], receipts: dict[int, CommitResult]
    ) -> None:
        for batch, fault in zip(batches, faults, strict=True):
            if fault is not None:
                # Not tried again: the kernel has marked the pages clean, and the next sync would lie. Nor does it say
                # whose they were: they may be those of a chunk that is still on its way.
                reported = {report.index for report in batch.reports.values()}
                batch.state.doubted |= set(batch.state.missing()) - reported
                batch.state.running_digest.reset()
                receipts |= dict.fromkeys(batch.passed, CommitResult(False, "disk"))
                batch.passed.clear()

    def _read_back(self, state: FileState, fd: int, report: WrittenChunk) -> Checked | CommitResult:
        chunk = state.chunk(report.index)
        digest = blake3()
        hashers: list[tuple[int, Hasher]] = [(0, digest)]
        declared = [(start, Bounded(hashlib.sha256(), end - start), want) for start, end, want in report.digests]
        hashers += [(start, hasher) for start, hasher, _ in declared]
        in_order = report.index == state.running_digest.next and state.phase != "repairing"
        if in_order:
            hashers.append((0, state.running_digest))
        why = ""
        try:
            self._reader.feed(fd, chunk, *hashers)
        except (ShortRead, DiskError):
            why = "disk"
        if not why and any(hasher.hexdigest() != want for _, hasher, want in declared):
            why = "digest"
        if why:
            if in_order:
                state.running_digest.reset()
            return CommitResult(False, why)
        if in_order:
            state.running_digest.next += 1
        before = state.rows[report.index]
        changed = report.index in state.reopened and before.digest != digest.digest()
        row = replace(
            before,
            done=True,
            etag=report.validator,
            mirror=report.mirror,
            generation=report.generation,
            digest=digest.digest(),
        )
        return Checked(row, changed)

    def _advance(self, state: FileState, fd: int, until: int) -> None:
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

    def _sync_whole(self, states: list[FileState]) -> None:
        with ExitStack() as stack:
            fds = [stack.enter_context(self._opened(state)) for state in states]
            for fault in self._syncer.sync(fds, file_io.fsync):
                if fault is not None:
                    raise fault

    def _retire(self, previous: str | None) -> None:
        names = self.tree.list_names(layout.REVISIONS)
        times = {name: marker.published if (marker := ready_marker.read(self.tree, name)) else 0.0 for name in names}
        for name in ready_marker.retired(self.manifest.revision, previous, times):
            self.tree.remove(layout.marker_path(name))
            self.tree.remove(layout.published_path(name))
            self.chunk_store.forget(name)

    def _marker(self, now: float) -> ready_marker.ReadyMarker:
        rows = {row.path: row for row in self.chunk_store.files(self.manifest.revision)}
        listed = tuple(
            ready_marker.ReadyFile(
                entry.path, entry.size, rows[entry.path].digest, "verified" if entry.digest else "unknown"
            )
            for entry in self.manifest.files
        )
        return ready_marker.ReadyMarker(self.manifest.revision, self.manifest.digest, self.manifest.size, now, listed)

    def _incoming(self, state: FileState) -> str:
        return layout.incoming_path(self.manifest.revision, state.entry.path)

    @contextmanager
    def _opened(self, state: FileState) -> Iterator[int]:
        fd = self.tree.open(self._incoming(state), os.O_RDWR)
        try:
            yield fd
        finally:
            os.close(fd)


@contextmanager
def _disk_errors() -> Iterator[None]:
    """What the operating system and SQLite say of the disk, as MachineError."""
    try:
        yield
    except OSError as error:
        raise file_io.disk_error("keeping the model's records", error) from error
    except sqlite3.Error as error:
        if getattr(error, "sqlite_errorcode", None) == sqlite3.SQLITE_FULL:
            raise file_io.disk_error("writing chunks.db", OSError(errno.ENOSPC, str(error))) from error
        raise DiskError(f"chunks.db: {error}; check the disk") from error
