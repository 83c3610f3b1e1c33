"""chunks.db: what is done, in SQLite. Every public method is one transaction, durable when it returns.

Blocking, and to be used from one thread. Raises sqlite3.Error; `worker` says what that means.
"""

from __future__ import annotations

import sqlite3
from collections.abc import Iterable, Iterator
from contextlib import closing, contextmanager
from dataclasses import dataclass
from pathlib import Path
from urllib.parse import quote

from modelferry.engine.checkpoint.api import QuarantinedMirror, StatTotals
from modelferry.manifest import Manifest, chunks_of

#: Of the schema below; another one's database is set aside, never guessed at.
VERSION = "1"

_SCHEMA = """
CREATE TABLE meta (key TEXT PRIMARY KEY, value TEXT NOT NULL) WITHOUT ROWID;
CREATE TABLE files (
    id INTEGER PRIMARY KEY,
    revision TEXT NOT NULL,
    path TEXT NOT NULL,
    size INTEGER NOT NULL,
    expected TEXT NOT NULL,             -- algorithm:hex that the source declares, or ''
    digest TEXT NOT NULL DEFAULT '',    -- algorithm:hex that was computed over the whole file
    generation INTEGER NOT NULL DEFAULT 0,
    state TEXT NOT NULL DEFAULT 'fetching' CHECK (state IN ('fetching', 'verified')),
    UNIQUE (revision, path)
);
CREATE TABLE chunks (
    file INTEGER NOT NULL REFERENCES files ON DELETE CASCADE,
    "index" INTEGER NOT NULL,
    start INTEGER NOT NULL,
    "end" INTEGER NOT NULL,             -- exclusive
    status TEXT NOT NULL DEFAULT 'pending' CHECK (status IN ('pending', 'done')),
    etag TEXT NOT NULL DEFAULT '',      -- the validator that the chunk came with; compared within one mirror only
    mirror TEXT NOT NULL DEFAULT '',
    generation INTEGER NOT NULL DEFAULT 0,
    digest BLOB,                        -- BLAKE3 of the bytes; of the last ones that were done, where it is pending
    PRIMARY KEY (file, "index")
) WITHOUT ROWID;
CREATE TABLE published (
    revision TEXT PRIMARY KEY,
    manifest TEXT NOT NULL,             -- the manifest's digest
    bytes INTEGER NOT NULL,
    at REAL NOT NULL                    -- seconds since 1970
) WITHOUT ROWID;
"""

_VERIFY = "UPDATE files SET state = 'verified', digest = ? WHERE id = ?"
#: Not part of the schema's version, since nothing else depends on them: a chunks.db without them gets them, and a
#: Modelferry that does not know them passes them by.
_BESIDE = """
CREATE TABLE IF NOT EXISTS costs (
    revision TEXT NOT NULL,
    what TEXT NOT NULL,                 -- as in engine.tally
    mirror TEXT NOT NULL,
    times INTEGER NOT NULL,
    seconds REAL NOT NULL,
    PRIMARY KEY (revision, what, mirror)
) WITHOUT ROWID;
CREATE TABLE IF NOT EXISTS quarantine (
    revision TEXT NOT NULL,
    mirror TEXT NOT NULL,
    url TEXT NOT NULL,                  -- of a file that it served wrong bytes of, without query
    why TEXT NOT NULL,
    PRIMARY KEY (revision, mirror, url)
) WITHOUT ROWID;
"""


class DamagedDatabase(Exception):
    """chunks.db is of another version, or is not one."""


@dataclass(frozen=True, slots=True)
class FileRow:
    """A file of a revision; ``id`` is what chunks refer to."""

    id: int
    path: str
    size: int
    expected: str
    digest: str
    generation: int
    verified: bool


@dataclass(frozen=True, slots=True)
class ChunkRow:
    """A chunk; ``start`` and ``end`` in bytes, ``end`` exclusive."""

    file: int
    index: int
    start: int
    end: int
    done: bool
    etag: str
    mirror: str
    generation: int
    digest: bytes | None


class ChunkStore:
    """One open chunks.db."""

    def __init__(self, path: Path, *, boot_id: str, now: float) -> None:
        """Open or make it; raises DamagedDatabase, or sqlite3.Error where the disk does not let us."""
        fresh = not path.exists()
        self._unwritten: list[tuple[str, str, str, int, float]] = []
        self._db = sqlite3.connect(path, isolation_level=None, check_same_thread=False)
        try:
            self._prepare(fresh, boot_id, now)
        except BaseException:
            self._db.close()
            raise

    def _prepare(self, fresh: bool, boot_id: str, now: float) -> None:
        try:
            self._db.execute("PRAGMA locking_mode = NORMAL")
            self._db.execute("PRAGMA journal_mode = WAL")
            self._db.execute("PRAGMA synchronous = FULL")
            self._db.execute("PRAGMA foreign_keys = ON")
            self._db.execute("PRAGMA cache_size = -1024")
            if fresh or not self._has_schema():
                self._create(boot_id, now)
            if self._meta("schema") != VERSION:
                raise DamagedDatabase(f"is of version {self._meta('schema')}; this Modelferry reads {VERSION}")
            if (fault := self._one("PRAGMA quick_check")) != "ok":
                raise DamagedDatabase(f"is damaged: {fault}")
            if self._one("SELECT count(*) FROM sqlite_master WHERE name IN ('costs', 'quarantine')") != 2:
                self._db.executescript(f"BEGIN; {_BESIDE} COMMIT;")
        except sqlite3.DatabaseError as error:
            if isinstance(error, sqlite3.OperationalError) and "disk" in str(error):
                raise
            raise DamagedDatabase(f"cannot be read: {error}") from error
        # The pragmas are requests; a database that answers otherwise would promise what it does not keep.
        if (self._one("PRAGMA journal_mode"), self._one("PRAGMA synchronous")) != ("wal", 2):
            raise sqlite3.OperationalError("this file system does not let chunks.db write durably (WAL, FULL)")

    def _has_schema(self) -> bool:
        # A crash between the file's creation and the schema's commit leaves an empty database.
        return self._one("SELECT count(*) FROM sqlite_master") != 0

    def _create(self, boot_id: str, now: float) -> None:
        rows = [("schema", VERSION), ("boot_id", boot_id), ("created", str(now))]
        values = ", ".join(f"({_quoted(key)}, {_quoted(value)})" for key, value in rows)
        self._db.executescript(f"BEGIN; {_SCHEMA} {_BESIDE} INSERT INTO meta VALUES {values}; COMMIT;")

    def close(self) -> None:
        """Close it; SQLite folds the log into the database."""
        self._db.close()

    @property
    def boot_id(self) -> str:
        """Of the boot in which every done chunk was last known to be on the disk."""
        return self._meta("boot_id")

    def enter(self, manifest: Manifest) -> list[FileRow]:
        """The manifest's files in its order; those that are new get their rows. Other unpublished revisions are
        forgotten."""
        with self._transaction():
            for table in ("files", "quarantine"):
                self._db.execute(
                    f"DELETE FROM {table} WHERE revision != ? AND revision NOT IN (SELECT revision FROM published)",
                    (manifest.revision,),
                )
            listed = {entry.path for entry in manifest.files}
            for row in self.files(manifest.revision):
                if row.path not in listed:
                    self._db.execute("DELETE FROM files WHERE id = ?", (row.id,))
            for number, entry in enumerate(manifest.files):
                expected = str(entry.digest or "")
                known = self._db.execute(
                    "SELECT id, size, expected FROM files WHERE revision = ? AND path = ?",
                    (manifest.revision, entry.path),
                ).fetchone()
                if known is not None and known[1:] == (entry.size, expected):
                    continue
                if known is not None:
                    self._db.execute("DELETE FROM files WHERE id = ?", (known[0],))
                file = self._db.execute(
                    "INSERT INTO files (revision, path, size, expected) VALUES (?, ?, ?, ?)",
                    (manifest.revision, entry.path, entry.size, expected),
                ).lastrowid
                self._db.executemany(
                    'INSERT INTO chunks (file, "index", start, "end") VALUES (?, ?, ?, ?)',
                    ((file, chunk.index, chunk.start, chunk.end) for chunk in chunks_of(number, entry.size)),
                )
        rows = {row.path: row for row in self.files(manifest.revision)}
        return [rows[entry.path] for entry in manifest.files]

    def files(self, revision: str) -> list[FileRow]:
        """The files of a revision, by path."""
        rows = self._db.execute(
            "SELECT id, path, size, expected, digest, generation, state = 'verified' FROM files"
            " WHERE revision = ? ORDER BY path",
            (revision,),
        )
        # SQLite's truth values are 0 and 1, which Python's equal.
        return [FileRow(*row) for row in rows]

    def chunks(self, file: int) -> list[ChunkRow]:
        """The chunks of a file, in order."""
        rows = self._db.execute(
            'SELECT file, "index", start, "end", status = \'done\', etag, mirror, generation, digest FROM chunks'
            ' WHERE file = ? ORDER BY "index"',
            (file,),
        )
        return [ChunkRow(*row) for row in rows]

    def commit(self, rows: Iterable[ChunkRow], whole: Iterable[tuple[int, str]] = ()) -> None:
        """These chunks are done, and with them the (file, digest) of `whole` as in `verify`. Their bytes are on stable
        storage already."""
        with self._transaction():
            self._db.executemany(
                "UPDATE chunks SET status = 'done', etag = ?, mirror = ?, generation = ?, digest = ?"
                ' WHERE file = ? AND "index" = ?',
                ((row.etag, row.mirror, row.generation, row.digest, row.file, row.index) for row in rows),
            )
            self._db.executemany(_VERIFY, ((digest, file) for file, digest in whole))

    def drop(self, chunks: Iterable[tuple[int, int]], *, boot_id: str | None = None) -> None:
        """These (file, index) are pending again, their files not verified; with `boot_id` the rest is as of that
        boot."""
        with self._transaction():
            for file, index in chunks:
                self._db.execute("UPDATE chunks SET status = 'pending' WHERE file = ? AND \"index\" = ?", (file, index))
                self._db.execute("UPDATE files SET state = 'fetching' WHERE id = ?", (file,))
            if boot_id is not None:
                self._db.execute("UPDATE meta SET value = ? WHERE key = 'boot_id'", (boot_id,))

    def restart(self, file: int, generation: int) -> None:
        """File `file` begins anew as `generation`: nothing of it is done."""
        with self._transaction():
            self._db.execute("UPDATE files SET generation = ?, state = 'fetching' WHERE id = ?", (generation, file))
            self._db.execute(
                "UPDATE chunks SET status = 'pending', etag = '', mirror = '', digest = NULL WHERE file = ?", (file,)
            )

    def verify(self, file: int, digest: str) -> None:
        """File `file` as a whole has `digest`, which is the expected one where there is one."""
        with self._transaction():
            self._db.execute(_VERIFY, (digest, file))

    def quarantine(self, revision: str, found: QuarantinedMirror) -> None:
        """A mirror served wrong bytes of `revision`."""
        with self._transaction():
            row = revision, found.mirror, found.url, found.why
            self._db.execute("INSERT OR REPLACE INTO quarantine VALUES (?, ?, ?, ?)", row)

    def quarantined(self, revision: str) -> tuple[QuarantinedMirror, ...]:
        """Mirrors that served wrong bytes of `revision`."""
        return _quarantined(self._db, revision)

    def publish(self, manifest: Manifest, now: float) -> None:
        """The revision's files stand where consumers read them."""
        with self._transaction():
            self._db.execute(
                "INSERT OR REPLACE INTO published VALUES (?, ?, ?, ?)",
                (manifest.revision, manifest.digest, manifest.size, now),
            )

    def withdraw(self, revision: str) -> None:
        """The revision is not published any more, though its files are kept."""
        with self._transaction():
            self._db.execute("DELETE FROM published WHERE revision = ?", (revision,))

    def published(self) -> list[str]:
        """Published revisions, the newest first."""
        return [row[0] for row in self._db.execute("SELECT revision FROM published ORDER BY at DESC, revision")]

    def forget(self, revision: str) -> None:
        """Nothing of the revision is on this disk any more."""
        with self._transaction():
            for table in ("published", "files", "costs", "quarantine"):
                self._db.execute(f"DELETE FROM {table} WHERE revision = ?", (revision,))

    def record_stats(self, revision: str, stats: StatTotals) -> None:
        """Add to what `revision` has cost. It is written with whatever is committed next, so that it costs nothing."""
        self._unwritten += [(revision, *key, *total) for key, total in stats.items()]

    def flush_stats(self) -> None:
        """Write what was spent."""
        if self._unwritten:
            with self._transaction():
                pass

    def _write_stats(self) -> None:
        self._db.executemany(
            "INSERT INTO costs VALUES (?, ?, ?, ?, ?) ON CONFLICT DO UPDATE"
            " SET times = times + excluded.times, seconds = seconds + excluded.seconds",
            self._unwritten,
        )
        self._unwritten = []

    def _meta(self, key: str) -> str:
        return str(self._one("SELECT value FROM meta WHERE key = ?", key) or "")

    def _one(self, query: str, *values: object) -> object:
        row = self._db.execute(query, values).fetchone()
        return row[0] if row else None

    @contextmanager
    def _transaction(self) -> Iterator[None]:
        self._db.execute("BEGIN IMMEDIATE")
        try:
            yield
            self._write_stats()
            self._db.execute("COMMIT")
        except BaseException:
            # A commit that failed may have left the transaction open, and then no other could begin.
            if self._db.in_transaction:
                self._db.execute("ROLLBACK")
            raise


def connect_read_only(path: Path) -> sqlite3.Connection:
    """chunks.db as it is, beside whoever writes to it: nothing is changed, made or locked out. Raises sqlite3.Error."""
    # Without a log to fold in, "immutable" lets a reader in who may not write the directory.
    mode = "mode=ro" if path.with_name(f"{path.name}-wal").exists() else "mode=ro&immutable=1"
    return sqlite3.connect(f"file:{quote(str(path))}?{mode}", uri=True, isolation_level=None)


def read_digests(path: Path, revision: str) -> dict[str, list[bytes | None]]:
    """The BLAKE3 of every chunk of a revision, by file path and in order, read without changing anything.

    Empty where chunks.db is not there or cannot be read.
    """
    found: dict[str, list[bytes | None]] = {}
    try:
        with closing(connect_read_only(path)) as db:
            rows = db.execute(
                "SELECT path, chunks.digest FROM chunks JOIN files ON file = id WHERE revision = ?"
                ' ORDER BY file, "index"',
                (revision,),
            )
            for file, digest in rows:
                found.setdefault(file, []).append(digest)
    except sqlite3.Error:
        return {}
    return found


def read_quarantined(path: Path, revision: str) -> tuple[QuarantinedMirror, ...]:
    """Mirrors that served wrong bytes of `revision`, read without changing anything; none where chunks.db is not there,
    cannot be read, or is of an older Modelferry."""
    try:
        with closing(connect_read_only(path)) as db:
            return _quarantined(db, revision)
    except sqlite3.Error:
        return ()


def _quarantined(db: sqlite3.Connection, revision: str) -> tuple[QuarantinedMirror, ...]:
    rows = db.execute("SELECT mirror, url, why FROM quarantine WHERE revision = ? ORDER BY mirror, url", (revision,))
    return tuple(QuarantinedMirror(*row) for row in rows)


def _quoted(text: str) -> str:
    return "'" + text.replace("'", "''") + "'"
