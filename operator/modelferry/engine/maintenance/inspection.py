"""What a target directory and its chunks.db hold, for people. Reads alone: no lock, nothing made, nothing changed, so
that it may be used while a download runs. Blocking."""

from __future__ import annotations

import sqlite3
import stat
from contextlib import closing, suppress
from dataclasses import dataclass
from pathlib import Path

from modelferry.engine.checkpoint import ready_marker
from modelferry.engine.checkpoint.api import QuarantinedMirror
from modelferry.engine.checkpoint.chunk_store import VERSION, connect_read_only
from modelferry.engine.checkpoint.worker import read_boot_id
from modelferry.engine.storage import file_io, layout
from modelferry.engine.storage.tree import Tree
from modelferry.errors import DamagedState, ForeignDirectory
from modelferry.messages.chunk_map import BAD, DONE, PENDING

_LOCKS = Path("/proc/locks")


@dataclass(frozen=True, slots=True)
class FileView:
    """A file's rows. ``state`` is fetching or verified; ``done`` in bytes; ``letters`` as in messages.chunks, a letter
    for each chunk; ``mirrors``: how many done chunks came from which."""

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
    """What a revision has cost: ``what`` and ``mirror`` as in `engine.tally`."""

    what: str
    mirror: str
    times: int
    seconds: float


@dataclass(frozen=True, slots=True)
class RevisionView:
    """A revision that has rows, or stands on the disk. ``published``: seconds since 1970, None before. ``ready``: its
    marker is there, so consumers may use it; ``current``: they are pointed at it. ``quarantined``: mirrors that served
    wrong bytes of it."""

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
        """Bytes of them that are done."""
        return sum(file.done for file in self.files)


@dataclass(frozen=True, slots=True)
class Leftover:
    """What a stopped run left, or what was set aside: a path in the directory, and its bytes on the disk."""

    path: str
    bytes: int


@dataclass(frozen=True, slots=True)
class Inspection:
    """A directory. ``holder``: the process that works in it, as far as this machine's own list of locks shows;
    ``rehash``: the machine was started anew since, so that the next start hashes every chunk again. ``database`` is
    whole or missing."""

    directory: str
    holder: int | None
    rehash: bool
    database: str
    revisions: tuple[RevisionView, ...]
    leftovers: tuple[Leftover, ...]


def inspect(directory: Path, *, boot_id: str | None = None, locks: Path = _LOCKS) -> Inspection:
    """Look at `directory`. Raises ForeignDirectory where it is not Modelferry's, DamagedState where chunks.db cannot be
    read, and MachineError where the disk fails."""
    try:
        tree = Tree(directory)
    except OSError as error:
        raise ForeignDirectory(
            f"{directory}: {error.strerror or error}; give what was given to pull as --to"
        ) from error
    try:
        if layout.STATE not in tree.list_names():
            raise ForeignDirectory(
                f"{directory} holds no {layout.STATE}: Modelferry does not work there; give what was given to pull as"
                " --to, or the directory above current"
            )
        rows = _Rows.read(tree.root / layout.DATABASE)
        return Inspection(
            directory=str(directory),
            holder=_holder(tree, locks),
            rehash=bool(rows.boot_id) and rows.boot_id != (read_boot_id() if boot_id is None else boot_id),
            database=rows.state,
            revisions=_revisions(tree, rows),
            leftovers=_leftovers(tree, rows),
        )
    except OSError as error:
        raise file_io.disk_error(f"reading {directory}", error) from error
    finally:
        tree.close()


@dataclass(frozen=True, slots=True)
class _Rows:
    """What chunks.db holds: files and times of publication by revision."""

    state: str
    boot_id: str
    files: dict[str, list[FileView]]
    published: dict[str, float]
    costs: dict[str, list[CostView]]
    quarantined: dict[str, list[QuarantinedMirror]]

    @classmethod
    def read(cls, path: Path) -> _Rows:
        """Raises DamagedState."""
        # A crash between the file's creation and its first commit leaves it empty.
        if not path.exists() or path.stat().st_size == 0:
            return cls("missing", "", {}, {}, {}, {})
        try:
            with closing(connect_read_only(path)) as db:
                # One transaction: what is read belongs together, however fast a download commits.
                db.execute("BEGIN")
                meta = dict(db.execute("SELECT key, value FROM meta"))
                if meta.get("schema") != VERSION:
                    raise DamagedState(f"{path} is of version {meta.get('schema')}; this Modelferry reads {VERSION}")
                published = dict(db.execute("SELECT revision, at FROM published"))
                boot_id = meta.get("boot_id", "")
                return cls("whole", boot_id, _files(db), published, _costs(db), _quarantined(db))
        except sqlite3.Error as error:
            raise DamagedState(
                f"{path}: {error}; the next pull sets it aside, and goes on from what its digests prove"
            ) from error


def _costs(db: sqlite3.Connection) -> dict[str, list[CostView]]:
    found: dict[str, list[CostView]] = {}
    if db.execute("SELECT count(*) FROM sqlite_master WHERE name = 'costs'").fetchone() != (0,):
        for revision, *cost in db.execute("SELECT revision, what, mirror, times, seconds FROM costs"):
            found.setdefault(revision, []).append(CostView(*cost))
    return found


def _quarantined(db: sqlite3.Connection) -> dict[str, list[QuarantinedMirror]]:
    found: dict[str, list[QuarantinedMirror]] = {}
    if db.execute("SELECT count(*) FROM sqlite_master WHERE name = 'quarantine'").fetchone() != (0,):
        for revision, *row in db.execute("SELECT revision, mirror, url, why FROM quarantine ORDER BY mirror, url"):
            found.setdefault(revision, []).append(QuarantinedMirror(*row))
    return found


def _files(db: sqlite3.Connection) -> dict[str, list[FileView]]:
    letters: dict[int, list[str]] = {}
    done: dict[int, int] = {}
    mirrors: dict[int, dict[str, int]] = {}
    for file, size, status, mirror, known in db.execute(
        'SELECT file, "end" - start, status, mirror, digest IS NOT NULL FROM chunks ORDER BY file, "index"'
    ):
        # A pending chunk whose digest is known was done once, and found wrong.
        letters.setdefault(file, []).append(DONE if status == "done" else BAD if known else PENDING)
        if status == "done":
            done[file] = done.get(file, 0) + size
            by_name = mirrors.setdefault(file, {})
            by_name[mirror] = by_name.get(mirror, 0) + 1
    found: dict[str, list[FileView]] = {}
    for id_, revision, path, size, state, generation, expected, digest in db.execute(
        "SELECT id, revision, path, size, state, generation, expected, digest FROM files ORDER BY revision, path"
    ):
        rows = "".join(letters.get(id_, ()))
        used = tuple(sorted(mirrors.get(id_, {}).items()))
        view = FileView(path, size, state, generation, expected, digest, done.get(id_, 0), rows, used)
        found.setdefault(revision, []).append(view)
    return found


def _revisions(tree: Tree, rows: _Rows) -> tuple[RevisionView, ...]:
    """The current one first, then by the time of publication."""
    current = ready_marker.current(tree)
    views = []
    for revision in {*rows.files, *rows.published, *tree.list_names(layout.REVISIONS)}:
        marker = ready_marker.read(tree, revision)
        published = rows.published.get(revision, marker.published if marker else None)
        known = tuple(rows.files.get(revision, ()))
        facts = (published, marker is not None, revision == current, known)
        beside = tuple(rows.costs.get(revision, ())), tuple(rows.quarantined.get(revision, ()))
        views.append(RevisionView(revision, *facts, *beside))
    return tuple(sorted(views, key=lambda view: (not view.current, -(view.published or 0), view.revision)))


def _leftovers(tree: Tree, rows: _Rows) -> tuple[Leftover, ...]:
    """Incoming revisions without rows to go on from, those that are published already, and databases set aside."""
    found = []
    for revision in tree.list_names(layout.INCOMING):
        if revision not in rows.files or revision in rows.published:
            found.append(layout.incoming_path(revision))
    found += [f"{layout.STATE}/{name}" for name in tree.list_names(layout.STATE) if ".damaged-" in name]
    return tuple(Leftover(path, _allocated(tree, path)) for path in sorted(found))


def _allocated(tree: Tree, path: str) -> int:
    status = tree.lstat(path)
    below = tree.list_files(path) if status is not None and stat.S_ISDIR(status.st_mode) else ()
    found = [status, *(tree.lstat(f"{path}/{name}") for name in below)]
    return sum(one.st_blocks * 512 for one in found if one is not None and stat.S_ISREG(one.st_mode))


def _holder(tree: Tree, locks: Path) -> int | None:
    """Who holds the lock. Asked of the kernel's list, for trying to take it would keep out a start of that moment."""
    status = tree.lstat(layout.LOCK)
    with suppress(OSError):
        for line in locks.read_text().splitlines():
            # "7: FLOCK  ADVISORY  WRITE 4711 08:01:262 0 EOF"; device numbers differ on overlays, so the pid that the
            # holder left in the file must agree as well.
            words = line.split()
            if status is None or len(words) < 6 or words[1] != "FLOCK" or words[4] != _last_holder(tree):
                continue
            if words[5].rpartition(":")[2] == str(status.st_ino):
                return int(words[4])
    return None


def _last_holder(tree: Tree) -> str:
    return (tree.read(layout.LOCK, 32) or b"").decode(errors="replace").strip()
