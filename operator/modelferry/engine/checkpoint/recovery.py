"""From whatever a crash left to a directory that may be worked in. Blocking; the order is explained in the package."""

from __future__ import annotations

import os
import sqlite3
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from dataclasses import replace as copy
from functools import partial

from blake3 import blake3

from modelferry.engine.checkpoint import ready_marker
from modelferry.engine.checkpoint.chunk_store import ChunkStore, DamagedDatabase
from modelferry.engine.checkpoint.digests import Reader, RunningDigest, ShortRead
from modelferry.engine.checkpoint.file_states import FileState
from modelferry.engine.storage import file_io, layout
from modelferry.engine.storage.space import check_space
from modelferry.engine.storage.tree import Tree
from modelferry.errors import DamagedState, DiskError, ForeignDirectory
from modelferry.manifest import Manifest

#: Where a file of the revision lies: published, or still incoming.
_Where = Callable[[str], str]


@dataclass(slots=True)
class Recovered:
    """An open directory. ``published``: the manifest's revision is ready, and ``current`` points at it."""

    chunk_store: ChunkStore
    files: list[FileState]
    published: bool = False
    rehashed: int = 0
    notes: list[str] = field(default_factory=list)


def claim(tree: Tree) -> None:
    """Make `tree` ours; raises ForeignDirectory, with nothing touched, where it is somebody else's."""
    if (name := layout.foreign_entry(tree.list_names())) is not None:
        raise ForeignDirectory(
            f"{tree.root} holds {name!r} and no {layout.STATE}: it is not Modelferry's; give an empty directory"
        )
    tree.make_directories(layout.STATE)


def open_ledger(tree: Tree, boot_id: str, now: float) -> tuple[ChunkStore, list[str]]:
    """chunks.db, and notes: one that cannot be used is set aside under another name. Raises DamagedState."""
    path = tree.root / layout.DATABASE
    try:
        # A link in its place would make SQLite write somewhere else; an open that follows none finds it.
        os.close(tree.open(layout.DATABASE, os.O_RDWR))
    except FileNotFoundError:
        pass
    except OSError as error:
        raise DamagedState(f"{path}: {error.strerror or error}; move it away") from error
    try:
        return ChunkStore(path, boot_id=boot_id, now=now), []
    except DamagedDatabase as fault:
        name = _set_aside(tree)
        note = f"chunks.db {fault}; it was set aside as {name}"
        return ChunkStore(path, boot_id=boot_id, now=now), [note]
    except sqlite3.Error as error:
        raise DamagedState(f"{path}: {error}; check the disk, or remove {tree.root / layout.STATE}") from error


def recover(
    tree: Tree, chunk_store: ChunkStore, manifest: Manifest, boot_id: str, progress: Callable[[list[FileState]], None]
) -> Recovered:
    """Bring the directory and its ledger into agreement about `manifest`, hashing what is in doubt.

    ``progress`` is handed the files' states as soon as they are known. Raises MachineError where the disk fails.
    """
    revision = manifest.revision
    marker = ready_marker.read(tree, revision)
    is_ready = marker is not None and marker.manifest == manifest.digest
    if not is_ready:
        _move_back(tree, chunk_store, revision)
    fresh = not chunk_store.files(revision)
    states = _states(chunk_store, manifest)
    progress(states)
    where = partial(layout.published_path if is_ready else layout.incoming_path, revision)
    recovered = Recovered(chunk_store, states)
    _forget_lost(tree, recovered, where)
    if fresh:
        known = {file.path: file.digest for file in marker.files} if marker and is_ready else {}
        _adopt(tree, recovered, where, known)
    elif chunk_store.boot_id != boot_id:
        _rehash(tree, recovered, where)
    if chunk_store.boot_id != boot_id:
        chunk_store.drop((), boot_id=boot_id)
    if is_ready:
        if all(state.verified for state in states):
            _point(tree, revision)
            recovered.published = True
        else:
            recovered.notes.append(f"revision {revision} is damaged on this disk; it was withdrawn, to be repaired")
            _move_back(tree, chunk_store, revision)
    return recovered


def preallocate(tree: Tree, manifest: Manifest, states: list[FileState]) -> None:
    """Give every file its place, size and space, durably; remove what no manifest speaks of any more.

    Raises InsufficientSpace before anything is allocated, and DiskError.
    """
    for name in tree.list_names(layout.INCOMING) - {manifest.revision}:
        tree.remove(layout.incoming_path(name))
    tree.make_directories(layout.incoming_path(manifest.revision))
    wanted = {entry.path for entry in manifest.files}
    for path in tree.list_files(layout.incoming_path(manifest.revision)) - wanted:
        tree.remove(layout.incoming_path(manifest.revision, path))
    allocated, lacking = 0, []
    for state in states:
        status = tree.lstat(layout.incoming_path(manifest.revision, state.entry.path))
        if status is not None and status.st_size == state.entry.size:
            allocated += min(state.entry.size, status.st_blocks * 512)
        else:
            lacking.append(state)
    free, capacity = tree.disk_space()
    check_space(str(tree.root), manifest.size, allocated, free, capacity)
    for parent in sorted({layout.incoming_path(manifest.revision, name) for name in directories(manifest)}):
        tree.make_directories(parent)
    for state in lacking:
        _place(tree, layout.incoming_path(manifest.revision, state.entry.path), state.entry.size)
    # Also those that were there: whoever made them may have been killed before it synced their directory.
    for directory in ("", layout.STATE, layout.INCOMING):
        tree.sync_directory(directory)
    for directory in sorted(directories(manifest)):
        tree.sync_directory(layout.incoming_path(manifest.revision, directory))


def directories(manifest: Manifest) -> set[str]:
    """Every directory within a revision, relative to it; "" is the revision's own."""
    found = {""}
    for entry in manifest.files:
        segments = entry.path.split("/")[:-1]
        found |= {"/".join(segments[: count + 1]) for count in range(len(segments))}
    return found


def create(tree: Tree, path: str, size: int) -> None:
    """A new, preallocated file at `path`, in an inode of its own, and its directories. The caller syncs the last one.

    The file itself is not synced: that of its first chunk makes its size durable, and until then a crash may leave
    one of another size, which is made anew.
    """
    tree.make_directories(path.rpartition("/")[0])
    _place(tree, path, size)


def _place(tree: Tree, path: str, size: int) -> None:
    tree.remove(path)
    fd = tree.open(path, os.O_RDWR | os.O_CREAT | os.O_EXCL)
    try:
        file_io.preallocate(fd, size)
    finally:
        os.close(fd)


def _states(chunk_store: ChunkStore, manifest: Manifest) -> list[FileState]:
    rows = chunk_store.enter(manifest)
    return [
        FileState.of(number, entry, row, chunk_store.chunks(row.id))
        for number, (entry, row) in enumerate(zip(manifest.files, rows, strict=True))
    ]


def _set_aside(tree: Tree) -> str:
    names = tree.list_names(layout.STATE)
    number = next(n for n in range(1, len(names) + 2) if f"chunks.db.damaged-{n}" not in names)
    # The log goes first and is not kept: beside a new database it would be taken for that one's.
    for suffix in ("-wal", "-shm"):
        tree.remove(f"{layout.DATABASE}{suffix}")
    tree.rename(layout.DATABASE, f"{layout.DATABASE}.damaged-{number}")
    return f"chunks.db.damaged-{number}"


def _move_back(tree: Tree, chunk_store: ChunkStore, revision: str) -> None:
    """A revision that is not (or no more) ready becomes incoming again; nobody is pointed at it meanwhile."""
    location = layout.published_path(revision)
    if tree.lstat(location) is None:
        return
    if ready_marker.current(tree) == revision:
        tree.remove(layout.CURRENT)
        tree.sync_directory()
    tree.remove(layout.marker_path(revision))
    tree.sync_directory(location)
    tree.make_directories(layout.INCOMING)
    tree.remove(layout.incoming_path(revision))
    tree.rename(location, layout.incoming_path(revision))
    chunk_store.withdraw(revision)


def _forget_lost(tree: Tree, recovered: Recovered, where: _Where) -> None:
    """A file that is gone or has another size has no chunks, whatever the rows say."""
    for state in recovered.files:
        status = tree.lstat(where(state.entry.path))
        lost = status is None or status.st_size != state.entry.size
        if lost and (state.done or state.verified):
            recovered.chunk_store.restart(state.id, state.generation + 1)
            state.mark_restarted(state.generation + 1)
            recovered.notes.append(f"{state.entry.path} was lost from the disk; it is fetched again")


def _rehash(tree: Tree, recovered: Recovered, where: _Where) -> None:
    """After an unclean boot: hash every chunk that is marked done; those that differ are pending again."""
    reader = Reader()
    for state in recovered.files:
        done = [row for row in state.rows if row.done]
        if not done:
            continue
        fd = tree.open(where(state.entry.path), os.O_RDONLY)
        try:
            bad = [row.index for row in done if not intact(reader, fd, state, row.index)]
        finally:
            os.close(fd)
        recovered.rehashed += len(done)
        recovered.chunk_store.drop((state.id, index) for index in bad)
        for index in bad:
            state.mark_pending(index)
        if bad:
            state.recount()
            recovered.notes.append(
                f"{state.entry.path}: {len(bad)} of {len(done)} chunks did not survive the last boot"
            )


def intact(reader: Reader, fd: int, state: FileState, index: int) -> bool:
    """Does chunk `index` on the disk have the digest of its row?"""
    try:
        return reader.digest(fd, state.chunk(index)) == state.rows[index].digest
    except (ShortRead, DiskError):
        return False


def _adopt(tree: Tree, recovered: Recovered, where: _Where, known: Mapping[str, str]) -> None:
    """Files without rows (chunks.db was lost or set aside): one whose whole digest holds is taken as it is."""
    reader = Reader()
    for state in recovered.files:
        expected = str(state.entry.digest or "") or known.get(state.entry.path, "")
        status = tree.lstat(where(state.entry.path))
        if not expected or status is None or status.st_size != state.entry.size or not _allocated(status):
            continue
        fd = tree.open(where(state.entry.path), os.O_RDONLY)
        try:
            running_digest, rows = RunningDigest.of(state.entry), []
            for row in state.rows:
                hasher = blake3()
                reader.feed(fd, state.chunk(row.index), (0, hasher), (0, running_digest))
                rows.append(copy(row, done=True, digest=hasher.digest()))
            file_io.fdatasync(fd)
        except (ShortRead, DiskError):
            continue
        finally:
            os.close(fd)
        if str(running_digest) == expected:
            recovered.chunk_store.commit(rows)
            recovered.chunk_store.verify(state.id, expected)
            for row in rows:
                state.mark_done(row)
            state.mark_verified()
            recovered.rehashed += len(rows)


def _allocated(status: os.stat_result) -> bool:
    # A preallocated file that nothing was written to reads as zeros: not worth hashing where it has no blocks at all.
    return status.st_size == 0 or status.st_blocks > 0


def _point(tree: Tree, revision: str) -> None:
    """``current`` points at a revision that is ready: the last step of publishing, if a crash came before it."""
    if ready_marker.current(tree) != revision:
        tree.symlink(layout.published_path(revision), layout.CURRENT)
