"""A private temporary directory for the sockets, the manifest and the logs of one run."""

from __future__ import annotations

import os
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from modelferry.errors import MachineError

#: A Unix socket's address has 108 bytes on Linux and 104 elsewhere, including a null byte.
_MAX_SOCKET_PATH = 103
#: The length of the longest socket's path below the temporary directory.
_SUFFIX_LENGTH = len("/modelferry-xxxxxxxx/checkpoint.sock")


@contextmanager
def runtime_directory() -> Iterator[Path]:
    """Create a directory (mode 0700) in the temporary directory, or in /tmp if its path is too long for a socket.

    It is removed at the end. Raises MachineError if it cannot be created.
    """
    temporary = tempfile.gettempdir()
    parent = temporary if len(os.fsencode(temporary)) + _SUFFIX_LENGTH <= _MAX_SOCKET_PATH else "/tmp"
    try:
        directory = tempfile.TemporaryDirectory(prefix="modelferry-", dir=parent, ignore_cleanup_errors=True)
    except OSError as error:
        raise MachineError(f"{parent}: {error.strerror}; set TMPDIR to a writable directory") from error
    with directory as name:
        yield Path(name)
