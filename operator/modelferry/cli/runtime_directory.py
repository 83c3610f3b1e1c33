"""A private directory for the sockets, the manifest and the logs of one run; gone afterwards."""

from __future__ import annotations

import os
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from modelferry.errors import MachineError

#: A Unix socket's address holds 108 bytes on Linux and 104 elsewhere, one of them a zero; the longest name is ours.
_LONGEST_SOCKET = 103
_ROOM = len("/modelferry-xxxxxxxx/checkpoint.sock")


@contextmanager
def run_directory() -> Iterator[Path]:
    """A new directory (mode 0700) below the temporary directory, or below /tmp where that one's name is too long.

    Raises MachineError where none can be made.
    """
    usual = tempfile.gettempdir()
    parent = usual if len(os.fsencode(usual)) + _ROOM <= _LONGEST_SOCKET else "/tmp"
    try:
        directory = tempfile.TemporaryDirectory(prefix="modelferry-", dir=parent, ignore_cleanup_errors=True)
    except OSError as error:
        raise MachineError(f"{parent}: {error.strerror}; set TMPDIR to a directory that can be written to") from error
    with directory as name:
        yield Path(name)
