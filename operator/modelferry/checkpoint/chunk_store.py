"""Writes chunks.db, the SQLite database that records which chunks are done. Every public method is one transaction,
which is durable when the method returns.

Blocking, and for one thread. Raises sqlite3.Error, which `disk_errors` translates.
"""

from __future__ import annotations

import sqlite3
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path

from modelferry.checkpoint.api import QuarantinedMirror, StatTotals
from modelferry.checkpoint.chunk_store_reader import VERSION, ChunkRow, ChunkStoreReader, FileRow
from modelferry.manifest import Manifest, chunks_of

_SCHEMA = """
CREATE TABLE meta (key TEXT PRIMARY KEY, value TEXT NOT NULL) WITHOUT ROWID;
CREATE TABLE files (
    id INTEGER PRIMARY KEY,
    revision TEXT NOT NULL,
    path TEXT NOT NULL,
    size INTEGER NOT NULL,
    expected TEXT NOT NULL,             -- algorithm:hex that the source declares, or ''
    digest TEXT NOT NULL DEFAULT '',    -- algorithm:hex that was computed over the entire file
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
    etag TEXT NOT NULL DEFAULT '',      -- the validator of the chunk's response; compared within one mirror only
    mirror TEXT NOT NULL DEFAULT '',
    generation INTEGER NOT NULL DEFAULT 0,
    digest BLOB,                        -- BLAKE3 of the bytes; kept when the chunk becomes pending again
    PRIMARY KEY (file, "index")
) WITHOUT ROWID;
CREATE TABLE published (
    revision TEXT PRIMARY KEY,
    manifest TEXT NOT NULL,             -- the manifest's digest
    bytes INTEGER NOT NULL,
    at REAL NOT NULL                    -- seconds since 1970
) WITHOUT ROWID;
"""

_MARK_VERIFIED = "UPDATE files SET state = 'verified', digest = ? WHERE id = ?"
#: Tables that do not count for the schema's version, because no other table depends on them: a chunks.db without them
#: gets them, and a Modelferry that does not know them ignores them. ``costs`` holds the stats.
_OPTIONAL_TABLES = """
CREATE TABLE IF NOT EXISTS costs (
    revision TEXT NOT NULL,
    what TEXT NOT NULL,                 -- the operation, as in api.StatTotals
    mirror TEXT NOT NULL,
    times INTEGER NOT NULL,
    seconds REAL NOT NULL,
    PRIMARY KEY (revision, what, mirror)
) WITHOUT ROWID;
CREATE TABLE IF NOT EXISTS quarantine (
    revision TEXT NOT NULL,
    mirror TEXT NOT NULL,
    url TEXT NOT NULL,                  -- of a file that it served corrupt data of, without the query
    why TEXT NOT NULL,
    PRIMARY KEY (revision, mirror, url)
) WITHOUT ROWID;
"""


class NoDurableWrites(Exception):
    """The file system has no shared mappings of files, which SQLite's WAL needs."""


class DamagedDatabase(Exception):
    """chunks.db has another version, or is not a database. The message is the end of a sentence."""


class ChunkStore(ChunkStoreReader):
    """One connection that reads and writes chunks.db. Close it at the end."""

    def __init__(self, path: Path, *, boot_id: str, now: float) -> None:
        """Open or create it. `boot_id` and `now` (seconds since 1970) are for a new database. Raises DamagedDatabase,
        NoDurableWrites, or sqlite3.Error if the disk fails."""
        is_new = not path.exists()
        self._unwritten_stats: list[tuple[str, str, str, int, float]] = []
        super().__init__(sqlite3.connect(path, isolation_level=None, check_same_thread=False))
        try:
            self._prepare(is_new, boot_id, now)
        except BaseException:
            self._db.close()
            raise

    def _prepare(self, is_new: bool, boot_id: str, now: float) -> None:
        try:
            self._db.execute("PRAGMA locking_mode = NORMAL")
            self._db.execute("PRAGMA journal_mode = WAL")
            self._db.execute("PRAGMA synchronous = FULL")
            self._db.execute("PRAGMA foreign_keys = ON")
            self._db.execute("PRAGMA cache_size = -1024")
            if is_new or not self._has_schema():
                self._create(boot_id, now)
            if self.version != VERSION:
                raise DamagedDatabase(f"has version {self.version}, and this Modelferry reads version {VERSION}")
            if (finding := self._scalar("PRAGMA quick_check")) != "ok":
                raise DamagedDatabase(f"is damaged: {finding}")
            if self._scalar("SELECT count(*) FROM sqlite_master WHERE name IN ('costs', 'quarantine')") != 2:
                self._db.executescript(f"BEGIN; {_OPTIONAL_TABLES} COMMIT;")
        except sqlite3.DatabaseError as error:
            if isinstance(error, sqlite3.OperationalError) and "disk" in str(error):
                raise
            raise DamagedDatabase(f"cannot be read: {error}") from error
        # SQLite may ignore the pragmas, for example on some file systems; then commits would not be durable.
        if (self._scalar("PRAGMA journal_mode"), self._scalar("PRAGMA synchronous")) != ("wal", 2):
            raise NoDurableWrites

    def _has_schema(self) -> bool:
        # A crash between the file's creation and the schema's commit leaves an empty database.
        return self._scalar("SELECT count(*) FROM sqlite_master") != 0

    def _create(self, boot_id: str, now: float) -> None:
        rows = [("schema", VERSION), ("boot_id", boot_id), ("created", str(now))]
        values = ", ".join(f"({_quoted(key)}, {_quoted(value)})" for key, value in rows)
        self._db.executescript(f"BEGIN; {_SCHEMA} {_OPTIONAL_TABLES} INSERT INTO meta VALUES {values}; COMMIT;")

    def close(self) -> None:
        """Close it; SQLite moves the WAL's content into the database."""
        self._db.close()

    def add_manifest(self, manifest: Manifest) -> list[FileRow]:
        """Add rows for the manifest's new and changed files, remove other unpublished revisions, and return the
        manifest's files in its order."""
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

    def commit_chunks(self, rows: Iterable[ChunkRow], verified: Iterable[tuple[int, str]] = ()) -> None:
        """Record chunks as done, and the (file, digest) of `verified` as `mark_verified` does. Their bytes are on
        stable storage already."""
        with self._transaction():
            self._db.executemany(
                "UPDATE chunks SET status = 'done', etag = ?, mirror = ?, generation = ?, digest = ?"
                ' WHERE file = ? AND "index" = ?',
                ((row.etag, row.mirror, row.generation, row.digest, row.file, row.index) for row in rows),
            )
            self._db.executemany(_MARK_VERIFIED, ((digest, file) for file, digest in verified))

    def mark_pending(self, chunks: Iterable[tuple[int, int]]) -> None:
        """Record chunks, given as (file, index), as pending, and their files as not verified."""
        with self._transaction():
            for file, index in chunks:
                self._db.execute("UPDATE chunks SET status = 'pending' WHERE file = ? AND \"index\" = ?", (file, index))
                self._db.execute("UPDATE files SET state = 'fetching' WHERE id = ?", (file,))

    def record_boot(self, boot_id: str) -> None:
        """Record that all done chunks are on the disk in this boot."""
        with self._transaction():
            self._db.execute("UPDATE meta SET value = ? WHERE key = 'boot_id'", (boot_id,))

    def restart_file(self, file: int, generation: int) -> None:
        """Record a new generation of a file, all chunks pending."""
        with self._transaction():
            self._db.execute("UPDATE files SET generation = ?, state = 'fetching' WHERE id = ?", (generation, file))
            self._db.execute(
                "UPDATE chunks SET status = 'pending', etag = '', mirror = '', digest = NULL WHERE file = ?", (file,)
            )

    def mark_verified(self, file: int, digest: str) -> None:
        """Record the digest of a file, which is the expected one if the source declares any."""
        with self._transaction():
            self._db.execute(_MARK_VERIFIED, (digest, file))

    def quarantine(self, revision: str, found: QuarantinedMirror) -> None:
        """Record a mirror that served corrupt data of `revision`."""
        with self._transaction():
            row = revision, found.mirror, found.url, found.why
            self._db.execute("INSERT OR REPLACE INTO quarantine VALUES (?, ?, ?, ?)", row)

    def mark_published(self, manifest: Manifest, now: float) -> None:
        """Record that the revision's files are where consumers read them; `now` in seconds since 1970."""
        with self._transaction():
            self._db.execute(
                "INSERT OR REPLACE INTO published VALUES (?, ?, ?, ?)",
                (manifest.revision, manifest.digest, manifest.size, now),
            )

    def mark_unpublished(self, revision: str) -> None:
        """Record that the revision is not published any more. Its files and chunks stay."""
        with self._transaction():
            self._db.execute("DELETE FROM published WHERE revision = ?", (revision,))

    def delete_revision(self, revision: str) -> None:
        """Delete all rows of a revision."""
        with self._transaction():
            for table in ("published", "files", "costs", "quarantine"):
                self._db.execute(f"DELETE FROM {table} WHERE revision = ?", (revision,))

    def record_stats(self, revision: str, stats: StatTotals) -> None:
        """Add to the stats of `revision`. The next transaction writes them, so they cost no commit of their own."""
        self._unwritten_stats += [(revision, *key, *total) for key, total in stats.items()]

    def flush_stats(self) -> None:
        """Write the recorded stats."""
        if self._unwritten_stats:
            with self._transaction():
                pass

    def _write_stats(self) -> None:
        self._db.executemany(
            "INSERT INTO costs VALUES (?, ?, ?, ?, ?) ON CONFLICT DO UPDATE"
            " SET times = times + excluded.times, seconds = seconds + excluded.seconds",
            self._unwritten_stats,
        )
        self._unwritten_stats = []

    @contextmanager
    def _transaction(self) -> Iterator[None]:
        self._db.execute("BEGIN IMMEDIATE")
        try:
            yield
            self._write_stats()
            self._db.execute("COMMIT")
        except BaseException:
            # A commit that failed may leave the transaction open, and the next one could not begin.
            if self._db.in_transaction:
                self._db.execute("ROLLBACK")
            raise


def _quoted(text: str) -> str:
    return "'" + text.replace("'", "''") + "'"
