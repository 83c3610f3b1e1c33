"""Reads chunks.db, the SQLite database of chunks. Blocking; raises sqlite3.Error unless a docstring says otherwise."""

from __future__ import annotations

import sqlite3
from collections.abc import Iterator
from contextlib import closing, contextmanager
from dataclasses import dataclass
from pathlib import Path
from urllib.parse import quote

from modelferry.checkpoint.api import QuarantinedMirror

#: Of the schema in `chunk_store`. A database of another version is set aside; nothing is guessed from it.
VERSION = "1"


@dataclass(frozen=True, slots=True)
class FileRow:
    """A file of a revision. ``id`` is what its chunks refer to. ``expected``: the declared digest, or ""; ``digest``:
    the computed one, or "" before it is verified."""

    id: int
    path: str
    size: int
    expected: str
    digest: str
    generation: int
    verified: bool


@dataclass(frozen=True, slots=True)
class ChunkRow:
    """A chunk. ``start`` and ``end`` in bytes, ``end`` exclusive. ``digest``: BLAKE3 of the bytes, also of a chunk that
    was done before and is pending again."""

    file: int
    index: int
    start: int
    end: int
    done: bool
    etag: str
    mirror: str
    generation: int
    digest: bytes | None


@dataclass(frozen=True, slots=True)
class StatRow:
    """How often a revision's downloads did an operation, and the seconds that it took; as in `api.StatTotals`."""

    operation: str
    mirror: str
    count: int
    seconds: float


class ChunkStoreReader:
    """Queries over one connection to chunks.db."""

    def __init__(self, connection: sqlite3.Connection) -> None:
        self._db = connection

    @property
    def version(self) -> str:
        """Version of the schema; "" if there is none."""
        return self._meta("schema")

    @property
    def boot_id(self) -> str:
        """The boot in which all done chunks were last known to be on the disk."""
        return self._meta("boot_id")

    def revisions(self) -> list[str]:
        """Revisions that have files."""
        return [row[0] for row in self._db.execute("SELECT DISTINCT revision FROM files ORDER BY revision")]

    def published(self) -> dict[str, float]:
        """Published revisions, with the seconds since 1970 at which they were."""
        return dict(self._db.execute("SELECT revision, at FROM published"))

    def files(self, revision: str) -> list[FileRow]:
        """The files of a revision, by path."""
        rows = self._db.execute(
            "SELECT id, path, size, expected, digest, generation, state = 'verified' FROM files"
            " WHERE revision = ? ORDER BY path",
            (revision,),
        )
        # SQLite's truth values are 0 and 1, which equal Python's.
        return [FileRow(*row) for row in rows]

    def chunks(self, file: int) -> list[ChunkRow]:
        """The chunks of a file, in order."""
        rows = self._db.execute(
            'SELECT file, "index", start, "end", status = \'done\', etag, mirror, generation, digest FROM chunks'
            ' WHERE file = ? ORDER BY "index"',
            (file,),
        )
        return [ChunkRow(*row) for row in rows]

    def digests(self, revision: str) -> dict[str, list[bytes | None]]:
        """BLAKE3 of every chunk of a revision, by file path and in order."""
        rows = self._db.execute(
            'SELECT path, chunks.digest FROM chunks JOIN files ON file = id WHERE revision = ? ORDER BY file, "index"',
            (revision,),
        )
        found: dict[str, list[bytes | None]] = {}
        for path, digest in rows:
            found.setdefault(path, []).append(digest)
        return found

    def stats(self, revision: str) -> list[StatRow]:
        """The stats of a revision; none in a database that was made before there were any."""
        if not self._has_table("costs"):
            return []
        query = "SELECT what, mirror, times, seconds FROM costs WHERE revision = ? ORDER BY what, mirror"
        return [StatRow(*row) for row in self._db.execute(query, (revision,))]

    def quarantined(self, revision: str) -> tuple[QuarantinedMirror, ...]:
        """Mirrors that served corrupt data of a revision; none in a database that was made before they were
        recorded."""
        if not self._has_table("quarantine"):
            return ()
        query = "SELECT mirror, url, why FROM quarantine WHERE revision = ? ORDER BY mirror, url"
        return tuple(QuarantinedMirror(*row) for row in self._db.execute(query, (revision,)))

    def _has_table(self, name: str) -> bool:
        return self._scalar("SELECT count(*) FROM sqlite_master WHERE name = ?", name) != 0

    def _meta(self, key: str) -> str:
        return str(self._scalar("SELECT value FROM meta WHERE key = ?", key) or "")

    def _scalar(self, query: str, *values: object) -> object:
        row = self._db.execute(query, values).fetchone()
        return row[0] if row else None


@contextmanager
def open_snapshot(path: Path) -> Iterator[ChunkStoreReader]:
    """The content of chunks.db at one moment, beside the process that writes it: nothing is changed, created or
    locked out."""
    # "immutable" lets in a reader that may not write to the directory. It ignores the WAL, so it is for a database
    # without one.
    mode = "mode=ro" if path.with_name(f"{path.name}-wal").exists() else "mode=ro&immutable=1"
    with closing(sqlite3.connect(f"file:{quote(str(path))}?{mode}", uri=True, isolation_level=None)) as connection:
        # In one transaction all reads see the same commit, however many follow meanwhile.
        connection.execute("BEGIN")
        yield ChunkStoreReader(connection)


def read_digests(path: Path, revision: str) -> dict[str, list[bytes | None]]:
    """As `ChunkStoreReader.digests`; empty if chunks.db is missing or cannot be read."""
    try:
        with open_snapshot(path) as reader:
            return reader.digests(revision)
    except sqlite3.Error:
        return {}


def read_quarantined(path: Path, revision: str) -> tuple[QuarantinedMirror, ...]:
    """As `ChunkStoreReader.quarantined`; empty if chunks.db is missing or cannot be read."""
    try:
        with open_snapshot(path) as reader:
            return reader.quarantined(revision)
    except sqlite3.Error:
        return ()
