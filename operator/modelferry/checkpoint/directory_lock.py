"""The lock of a target directory: one process at a time works in it."""

from __future__ import annotations

import fcntl
import os

from modelferry.errors import DirectoryBusy
from modelferry.storage import layout
from modelferry.storage.tree import Tree


def acquire_lock(tree: Tree) -> int:
    """Take the lock, and return a file descriptor that holds it until it is closed or the process ends.

    Raises DirectoryBusy with the pid of the process that holds it.
    """
    fd = tree.open(layout.LOCK, os.O_RDWR | os.O_CREAT)
    try:
        fcntl.flock(fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        holder = os.pread(fd, 32, 0).decode(errors="replace").strip() or "unknown"
        os.close(fd)
        raise DirectoryBusy(
            f"{tree.root}: process {holder} is working in it; wait for it or stop it", reason="DirectoryBusy"
        ) from None
    try:
        os.ftruncate(fd, 0)
        os.pwrite(fd, f"{os.getpid()}\n".encode(), 0)
    except BaseException:
        # For example on a full disk. If the descriptor stayed open, this process could not take the lock again.
        os.close(fd)
        raise
    return fd
