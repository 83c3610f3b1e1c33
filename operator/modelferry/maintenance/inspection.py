"""Reports the content of a target directory and its chunks.db to people. It takes no lock, and creates and changes
nothing, so it may run beside a download. Blocking."""

from __future__ import annotations

import sqlite3
import stat
from collections import Counter
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path

from modelferry.checkpoint import published_revisions
from modelferry.checkpoint.api import QuarantinedMirror
from modelferry.checkpoint.chunk_store_reader import VERSION, ChunkRow, ChunkStoreReader, FileRow, open_snapshot
from modelferry.checkpoint.worker import read_boot_id
from modelferry.errors import DamagedState, ForeignDirectory
from modelferry.messages.chunk_map import BAD, DONE, PENDING
from modelferry.storage import file_io, layout
from modelferry.storage.space import allocated_bytes
from modelferry.storage.tree import Tree

_LOCKS = Path("/proc/locks")


@dataclass(frozen=True, slots=True)
class FileView:
    """A file that has rows. ``state``: fetching, verified, or complete if no digest is declared. ``done``: bytes.
    ``letters``: one of messages.chunk_map for each chunk. ``mirrors``: how many done chunks each mirror delivered."""

    path: str
    size: int
    state: str
    generation: int
    expected: str
    digest: str
    done: int
    letters: str
    mirrors: tuple[tuple[str, int], ...]


@dataclass(frozen=True, slots=True)
class CostView:
    """A stat of a revision, under the names of the output: ``what`` is the operation, ``times`` the count."""

    what: str
    mirror: str
    times: int
    seconds: float


@dataclass(frozen=True, slots=True)
class RevisionView:
    """A revision that has rows or published files. ``published``: seconds since 1970, or None if it is not. ``ready``:
    it has a READY marker, so consumers may use it. ``current``: the link ``current`` points at it. ``quarantined``:
    mirrors that served corrupt data of it."""

    revision: str
    published: float | None
    ready: bool
    current: bool
    files: tuple[FileView, ...] = ()
    costs: tuple[CostView, ...] = ()
    quarantined: tuple[QuarantinedMirror, ...] = ()

    @property
    def size(self) -> int:
        """Bytes of all files that have rows."""
        return sum(file.size for file in self.files)

    @property
    def done(self) -> int:
        """Bytes of their done chunks."""
        return sum(file.done for file in self.files)


@dataclass(frozen=True, slots=True)
class Leftover:
    """A path in the directory that a stopped process left, or that was set aside, and its bytes on the disk."""

    path: str
    bytes: int


@dataclass(frozen=True, slots=True)
class Inspection:
    """The content of a directory. ``holder``: pid of the process that works in it, as far as this machine's list of
    locks shows. ``rehash``: the machine was restarted since the last process, so the next one hashes every done chunk.
    ``database``: "whole" or "missing"."""

    directory: str
    holder: int | None
    rehash: bool
    database: str
    revisions: tuple[RevisionView, ...]
    leftovers: tuple[Leftover, ...]


def inspect(directory: Path, *, boot_id: str | None = None, locks: Path = _LOCKS) -> Inspection:
    """Inspect `directory`. `boot_id`: of the current boot; None reads it. `locks`: the kernel's list of locks. Raises
    ForeignDirectory if it is not Modelferry's, DamagedState if chunks.db cannot be read, and MachineError if the disk
    fails."""
    try:
        tree = Tree(directory)
    except OSError as error:
        raise ForeignDirectory(
            f"{directory}: {error.strerror or error}; use the directory that pull got as --to"
        ) from error
    try:
        if layout.STATE not in tree.list_names():
            raise ForeignDirectory(
                f"{directory} holds no {layout.STATE}, so it is not Modelferry's; use the directory that pull got as"
                " --to, which contains the link current"
            )
        database = _Database.read(tree.root / layout.DATABASE)
        return Inspection(
            directory=str(directory),
            holder=_holder(tree, locks),
            rehash=bool(database.boot_id) and database.boot_id != (read_boot_id() if boot_id is None else boot_id),
            database=database.state,
            revisions=_revisions(tree, database),
            leftovers=_leftovers(tree, database),
        )
    except OSError as error:
        raise file_io.disk_error(f"reading {directory}", error) from error
    finally:
        tree.close()


@dataclass(frozen=True, slots=True)
class _Database:
    """The content of chunks.db. ``files``, ``costs`` and ``quarantined`` by revision; ``published``: seconds since 1970
    by revision."""

    state: str
    boot_id: str = ""
    files: dict[str, tuple[FileView, ...]] = field(default_factory=dict)
    published: dict[str, float] = field(default_factory=dict)
    costs: dict[str, tuple[CostView, ...]] = field(default_factory=dict)
    quarantined: dict[str, tuple[QuarantinedMirror, ...]] = field(default_factory=dict)

    @classmethod
    def read(cls, path: Path) -> _Database:
        """Raises DamagedState."""
        # A crash between the file's creation and its first commit leaves it empty.
        if not path.exists() or path.stat().st_size == 0:
            return cls("missing")
        try:
            with open_snapshot(path) as reader:
                if reader.version != VERSION:
                    raise DamagedState(
                        f"{path} has version {reader.version or 'none'}, and this Modelferry reads version {VERSION};"
                        " use the Modelferry that wrote it, or pull again, which sets it aside"
                    )
                published = reader.published()
                revisions = {*reader.revisions(), *published}
                return cls(
                    "whole",
                    reader.boot_id,
                    {revision: _files(reader, revision) for revision in revisions},
                    published,
                    {revision: _costs(reader, revision) for revision in revisions},
                    {revision: reader.quarantined(revision) for revision in revisions},
                )
        except sqlite3.Error as error:
            raise DamagedState(
                f"{path}: {error}; the next pull sets it aside, and keeps the files whose digests are right"
            ) from error


def _costs(reader: ChunkStoreReader, revision: str) -> tuple[CostView, ...]:
    return tuple(CostView(row.operation, row.mirror, row.count, row.seconds) for row in reader.stats(revision))


def _files(reader: ChunkStoreReader, revision: str) -> tuple[FileView, ...]:
    return tuple(_file(file, reader.chunks(file.id)) for file in reader.files(revision))


def _file(file: FileRow, chunks: list[ChunkRow]) -> FileView:
    done = [chunk for chunk in chunks if chunk.done]
    return FileView(
        path=file.path,
        size=file.size,
        state="fetching" if not file.verified else "verified" if file.expected else "complete",
        generation=file.generation,
        expected=file.expected,
        digest=file.digest,
        done=sum(chunk.end - chunk.start for chunk in done),
        letters="".join(_letter(chunk) for chunk in chunks),
        mirrors=tuple(sorted(Counter(chunk.mirror for chunk in done).items())),
    )


def _letter(chunk: ChunkRow) -> str:
    # A pending chunk with a digest was done before, and found to be wrong.
    return DONE if chunk.done else BAD if chunk.digest is not None else PENDING


def _revisions(tree: Tree, database: _Database) -> tuple[RevisionView, ...]:
    """The current one first, then the newest."""
    current = published_revisions.current_revision(tree)
    views = []
    for revision in {*database.files, *tree.list_names(layout.REVISIONS), *([current] if current else [])}:
        marker = published_revisions.read_marker(tree, revision)
        view = RevisionView(
            revision=revision,
            published=database.published.get(revision, marker.published if marker else None),
            ready=marker is not None,
            current=revision == current,
            files=database.files.get(revision, ()),
            costs=database.costs.get(revision, ()),
            quarantined=database.quarantined.get(revision, ()),
        )
        views.append(view)
    return tuple(sorted(views, key=lambda view: (not view.current, -(view.published or 0), view.revision)))


def _leftovers(tree: Tree, database: _Database) -> tuple[Leftover, ...]:
    """Incoming revisions that have no rows or are published already, and databases that were set aside."""
    paths = [f"{layout.STATE}/{name}" for name in tree.list_names(layout.STATE) if ".damaged-" in name]
    for revision in tree.list_names(layout.INCOMING):
        if not database.files.get(revision) or revision in database.published:
            paths.append(layout.incoming_path(revision))
    return tuple(Leftover(path, _allocated(tree, path)) for path in sorted(paths))


def _allocated(tree: Tree, path: str) -> int:
    """Bytes on the disk of the regular files at or below `path`."""
    status = tree.lstat(path)
    below = tree.list_files(path) if status is not None and stat.S_ISDIR(status.st_mode) else ()
    found = [status, *(tree.lstat(f"{path}/{name}") for name in below)]
    return sum(allocated_bytes(one) for one in found if one is not None and stat.S_ISREG(one.st_mode))


def _holder(tree: Tree, locks: Path) -> int | None:
    """Pid of the process that holds the lock. Read from the kernel's list: an attempt to take the lock would refuse a
    process that starts at that moment."""
    status = tree.lstat(layout.LOCK)
    with suppress(OSError):
        for line in locks.read_text().splitlines():
            # "7: FLOCK  ADVISORY  WRITE 4711 08:01:262 0 EOF": pid, then device and inode. Device numbers differ on
            # overlay file systems, so the pid is compared with the one in the lock file instead.
            fields = line.split()
            if status is None or len(fields) < 6 or fields[1] != "FLOCK" or fields[4] != _last_holder(tree):
                continue
            if fields[5].rpartition(":")[2] == str(status.st_ino):
                return int(fields[4])
    return None


def _last_holder(tree: Tree) -> str:
    return (tree.read(layout.LOCK, 32) or b"").decode(errors="replace").strip()
