"""Translates what the operating system and SQLite report about the disk."""

from __future__ import annotations

import errno
import sqlite3
from collections.abc import Iterator
from contextlib import contextmanager

from modelferry.checkpoint.digests import ShortRead
from modelferry.errors import DiskError
from modelferry.storage import file_io


@contextmanager
def disk_errors(doing: str) -> Iterator[None]:
    """Raise OSError, ShortRead and sqlite3.Error of the block as MachineError. `doing`: what the block does, as the
    beginning of "... failed"."""
    try:
        yield
    except OSError as error:
        raise file_io.disk_error(doing, error) from error
    except ShortRead as error:
        raise DiskError(f"{doing} failed: a file became shorter while it was read; check the disk") from error
    except sqlite3.Error as error:
        if getattr(error, "sqlite_errorcode", None) == sqlite3.SQLITE_FULL:
            raise file_io.disk_error("writing chunks.db", OSError(errno.ENOSPC, str(error))) from error
        raise DiskError(f"chunks.db: {error}; check the disk") from error
