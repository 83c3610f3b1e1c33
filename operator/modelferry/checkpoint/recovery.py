"""Makes a target directory ready for work, whatever state a crash left it in. Blocking; the package describes the
order. Raises OSError, sqlite3.Error, and what the docstrings say."""

from __future__ import annotations

import os
import sqlite3
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace

from blake3 import blake3

from modelferry.checkpoint import published_revisions
from modelferry.checkpoint.chunk_store import ChunkStore, DamagedDatabase, NoDurableWrites
from modelferry.checkpoint.digests import ChunkReader, RunningDigest, ShortRead
from modelferry.checkpoint.file_states import FileState
from modelferry.errors import DamagedState, DiskError
from modelferry.manifest import Manifest
from modelferry.messages.earlier_revisions import RetainedRevision
from modelferry.storage import file_io, layout
from modelferry.storage.capabilities import check_names, creating, unsuitable
from modelferry.storage.space import allocated_bytes, check_space
from modelferry.storage.tree import Tree

#: From a file's path in the revision to its path in the target directory, which is published or incoming.
_Locate = Callable[[str], str]


@dataclass(slots=True)
class Recovered:
    """The recovered directory. ``published``: the manifest's revision is complete; the caller points ``current`` at it,
    if a crash prevented that. The other fields are as in api.OpenResult."""

    chunk_store: ChunkStore
    files: list[FileState]
    published: bool = False
    rehashed: int = 0
    notes: list[str] = field(default_factory=list)


def claim_directory(tree: Tree) -> None:
    """Create Modelferry's state directory. Raises ForeignDirectory, and changes nothing, if there are other files."""
    layout.refuse_foreign(tree.root, tree.list_names())
    tree.make_directories(layout.STATE)


def open_chunk_store(tree: Tree, boot_id: str, now: float) -> tuple[ChunkStore, list[str]]:
    """Open or create chunks.db; returns it, and notes for a person. One that cannot be used is renamed and replaced.
    `now` in seconds since 1970. Raises DamagedState, and DiskError if the file system is unsuitable."""
    path = tree.root / layout.DATABASE
    try:
        # SQLite follows a symbolic link, and would write to its target. Tree.open does not, and reports it.
        os.close(tree.open(layout.DATABASE, os.O_RDWR))
    except FileNotFoundError:
        pass
    except OSError as error:
        raise DamagedState(f"{path}: {error.strerror or error}; move it away") from error
    try:
        return ChunkStore(path, boot_id=boot_id, now=now), []
    except DamagedDatabase as error:
        name = _set_database_aside(tree)
        note = f"chunks.db {error}; it was set aside as {name}"
        return ChunkStore(path, boot_id=boot_id, now=now), [note]
    except NoDurableWrites as error:
        raise unsuitable(tree, "cannot share a mapped file between processes (SQLite's WAL needs it)") from error
    except sqlite3.Error as error:
        raise DamagedState(f"{path}: {error}; check the disk, or remove {tree.root / layout.STATE}") from error


def recover(
    tree: Tree,
    chunk_store: ChunkStore,
    manifest: Manifest,
    boot_id: str,
    on_states: Callable[[list[FileState]], None],
) -> Recovered:
    """Make the directory and its chunk store agree about `manifest`, and hash what is in doubt.

    `on_states` gets the states of the files as soon as they are known; they
    change later. Raises MachineError if the disk fails.
    """
    revision = manifest.revision
    marker = published_revisions.read_marker(tree, revision)
    is_ready = marker is not None and marker.manifest == manifest.digest
    if not is_ready:
        _unpublish(tree, chunk_store, revision)
    has_rows = bool(chunk_store.files(revision))
    states = _file_states(chunk_store, manifest)
    on_states(states)
    directory = published_revisions.location(tree, revision) if is_ready else layout.incoming_path(revision)

    def locate(path: str) -> str:
        return f"{directory}/{path}"

    recovered = Recovered(chunk_store, states)
    _restart_lost_files(tree, recovered, locate)
    if not has_rows:
        digests = {file.path: file.digest for file in marker.files} if marker and is_ready else {}
        _adopt_files(tree, recovered, locate, digests)
    elif chunk_store.boot_id != boot_id:
        _rehash(tree, recovered, locate)
    if chunk_store.boot_id != boot_id:
        chunk_store.record_boot(boot_id)
    if is_ready:
        if all(state.verified for state in states):
            recovered.published = True
        else:
            recovered.notes.append(f"revision {revision} is damaged on this disk; it was unpublished and is repaired")
            _unpublish(tree, chunk_store, revision)
    return recovered


def preallocate(
    tree: Tree,
    manifest: Manifest,
    states: list[FileState],
    retained: Sequence[RetainedRevision] = (),
    *,
    case_sensitive: bool = True,
) -> None:
    """Create every file with its size and disk space, durably, and remove incoming files of other manifests.

    `retained`: earlier revisions on the disk. `case_sensitive`: ``a`` and ``A`` are two names there. Raises
    InsufficientSpace before anything is allocated, and DiskError.
    """
    if not case_sensitive:
        check_names(tree, [entry.path for entry in manifest.files])
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
            allocated += min(state.entry.size, allocated_bytes(status))
        else:
            lacking.append(state)
    free, capacity = tree.disk_space()
    mounted = sum(one.bytes for one in retained if one.mounted)
    check_space(str(tree.root), manifest.size, allocated, free, capacity, mounted)
    for parent in sorted({layout.incoming_path(manifest.revision, name) for name in directories(manifest)}):
        tree.make_directories(parent)
    for state in lacking:
        _replace_file(tree, layout.incoming_path(manifest.revision, state.entry.path), state.entry.size)
    # All of them: the process that created one may have been killed before it synced the parent.
    for directory in ("", layout.STATE, layout.INCOMING):
        tree.sync_directory(directory)
    for directory in sorted(directories(manifest)):
        tree.sync_directory(layout.incoming_path(manifest.revision, directory))


def directories(manifest: Manifest) -> set[str]:
    """All directories of a revision, relative to its own, which is ""."""
    found = {""}
    for entry in manifest.files:
        segments = entry.path.split("/")[:-1]
        found |= {"/".join(segments[: count + 1]) for count in range(len(segments))}
    return found


def create_file(tree: Tree, path: str, size: int) -> None:
    """Create a preallocated file at `path`, with a new inode, and its directories. The caller syncs the parent.

    The file itself is not synced: the sync of its first chunk makes its size durable. If a crash before that leaves
    another size, recovery creates the file again.
    """
    tree.make_directories(path.rpartition("/")[0])
    _replace_file(tree, path, size)


def _replace_file(tree: Tree, path: str, size: int) -> None:
    tree.remove(path)
    with creating(tree, path, size), tree.opened(path, os.O_RDWR | os.O_CREAT | os.O_EXCL) as fd:
        file_io.preallocate(fd, size)


def _file_states(chunk_store: ChunkStore, manifest: Manifest) -> list[FileState]:
    rows = chunk_store.add_manifest(manifest)
    return [
        FileState.of(number, entry, row, chunk_store.chunks(row.id))
        for number, (entry, row) in enumerate(zip(manifest.files, rows, strict=True))
    ]


def _set_database_aside(tree: Tree) -> str:
    names = tree.list_names(layout.STATE)
    number = next(n for n in range(1, len(names) + 2) if f"chunks.db.damaged-{n}" not in names)
    # The WAL is removed first: SQLite would apply it to the new database.
    for suffix in ("-wal", "-shm"):
        tree.remove(f"{layout.DATABASE}{suffix}")
    tree.rename(layout.DATABASE, f"{layout.DATABASE}.damaged-{number}")
    return f"chunks.db.damaged-{number}"


def _unpublish(tree: Tree, chunk_store: ChunkStore, revision: str) -> None:
    """Move a revision that is not complete, if it is in `revisions/`, back to incoming. ``current`` goes first."""
    location = published_revisions.location(tree, revision)
    if tree.lstat(location) is None:
        return
    if location != layout.CURRENT:
        if published_revisions.current_revision(tree) == revision:
            tree.remove(layout.CURRENT)
            tree.sync_directory()
        tree.remove(f"{location}/{layout.READY_NAME}")
        tree.remove(f"{location}/{layout.HUB}")
        tree.sync_directory(location)
    tree.make_directories(layout.INCOMING)
    tree.remove(layout.incoming_path(revision))
    # With its marker, if it is the directory ``current``: that is removed with all that the manifest does not name.
    tree.rename(location, layout.incoming_path(revision))
    chunk_store.mark_unpublished(revision)


def _restart_lost_files(tree: Tree, recovered: Recovered, locate: _Locate) -> None:
    """A file that is missing or has another size has no chunks, whatever its rows say."""
    for state in recovered.files:
        status = tree.lstat(locate(state.entry.path))
        is_lost = status is None or status.st_size != state.entry.size
        if is_lost and (state.done or state.verified):
            recovered.chunk_store.restart_file(state.id, state.generation + 1)
            state.mark_restarted(state.generation + 1)
            recovered.notes.append(f"{state.entry.path} was lost from the disk; it is fetched again")


def _rehash(tree: Tree, recovered: Recovered, locate: _Locate) -> None:
    """After an unclean boot: hash every chunk that is done, and make those that differ pending."""
    reader = ChunkReader()
    for state in recovered.files:
        done = [row for row in state.rows if row.done]
        if not done:
            continue
        with tree.opened(locate(state.entry.path), os.O_RDONLY) as fd:
            bad = [row.index for row in done if not reader.is_intact(fd, state.chunk(row.index), row.digest)]
        recovered.rehashed += len(done)
        recovered.chunk_store.mark_pending((state.id, index) for index in bad)
        for index in bad:
            state.mark_pending(index)
        if bad:
            state.recount()
            recovered.notes.append(
                f"{state.entry.path}: {len(bad)} of {len(done)} chunks did not survive the last boot"
            )


def _adopt_files(tree: Tree, recovered: Recovered, locate: _Locate, digests: Mapping[str, str]) -> None:
    """Without rows, because chunks.db was lost or set aside: take over every file that has the right digest, which is
    declared or among `digests` of the READY marker."""
    reader = ChunkReader()
    for state in recovered.files:
        expected = str(state.entry.digest or "") or digests.get(state.entry.path, "")
        status = tree.lstat(locate(state.entry.path))
        if not expected or status is None or status.st_size != state.entry.size or _is_empty(status):
            continue
        running_digest, rows = RunningDigest.of(state.entry), []
        try:
            with tree.opened(locate(state.entry.path), os.O_RDONLY) as fd:
                for row in state.rows:
                    hasher = blake3()
                    reader.feed(fd, state.chunk(row.index), (0, hasher), (0, running_digest))
                    rows.append(replace(row, done=True, digest=hasher.digest()))
                file_io.fdatasync(fd)
        except (ShortRead, DiskError):
            continue
        if str(running_digest) == expected:
            recovered.chunk_store.commit_chunks(rows)
            recovered.chunk_store.mark_verified(state.id, expected)
            for row in rows:
                state.mark_done(row)
            state.mark_verified()
            recovered.rehashed += len(rows)


def _is_empty(status: os.stat_result) -> bool:
    # Without a single block the file reads as zeros, and hashing it takes long.
    return status.st_size > 0 and status.st_blocks == 0
