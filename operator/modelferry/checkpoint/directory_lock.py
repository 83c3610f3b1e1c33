"""The lock of a target directory: one process at a time works in it."""

from __future__ import annotations

import errno
import fcntl
import os

from modelferry.errors import DirectoryBusy, DiskError
from modelferry.storage import layout
from modelferry.storage.tree import Tree

#: Errors of file systems that have no locks, or whose lock service does not run.
_NO_LOCKS = (errno.ENOLCK, errno.EOPNOTSUPP, errno.ENOTSUP, errno.ENOSYS, errno.EINVAL)


def acquire_lock(tree: Tree) -> int:
    """Take the lock, and return a file descriptor that holds it until it is closed or the process ends.

    Raises DirectoryBusy with the pid of the process that holds it, and DiskError where the file system has no locks.
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
    except OSError as error:
        os.close(fd)
        if error.errno not in _NO_LOCKS:
            raise
        raise DiskError(
            f"{tree.root}: the file system cannot lock a file: {error.strerror}; mount it with locks (for NFS, check"
            " its lock service, or mount with local_lock=flock where one machine writes), or use another directory",
            reason="UnsuitableFileSystem",
        ) from error
    try:
        os.ftruncate(fd, 0)
        os.pwrite(fd, f"{os.getpid()}\n".encode(), 0)
    except BaseException:
        # For example on a full disk. If the descriptor stayed open, this process could not take the lock again.
        os.close(fd)
        raise
    return fd
