"""Reading and writing at offsets. Every function blocks, and raises DiskError (InsufficientSpace if the disk or
a quota is full)."""

from __future__ import annotations

import ctypes
import errno
import os
from collections.abc import Iterator
from functools import cache
from typing import Any

from modelferry.errors import DiskError, InsufficientSpace, MachineError

#: Errors of file systems that cannot preallocate (NFS before 4.2, some FUSE). The file gets its size, and only the
#: space check protects it.
_CANNOT_PREALLOCATE = (errno.EOPNOTSUPP, errno.ENOSYS, errno.EINVAL)

_SYNC_FILE_RANGE_WRITE = 2


def write_at(fd: int, data: memoryview, offset: int) -> None:
    """Write all of `data` at `offset`; pwrite(2) may write less."""
    while data:
        try:
            count = os.pwrite(fd, data, offset)
        except OSError as error:
            raise disk_error("writing", error, len(data)) from error
        data, offset = data[count:], offset + count


def read_range(fd: int, start: int, end: int, buffer: memoryview) -> Iterator[memoryview]:
    """Yield the bytes from `start` to `end` in pieces. They all use `buffer`: a piece is valid until the next one. Ends
    early if the file does."""
    while start < end:
        try:
            count = os.preadv(fd, [buffer[: min(len(buffer), end - start)]], start)
        except OSError as error:
            raise disk_error("reading", error) from error
        if count == 0:
            return
        yield buffer[:count]
        start += count


def fdatasync(fd: int) -> None:
    """fdatasync(2). Do not repeat one that failed: Linux marks the pages clean anyway, and the repetition would
    succeed without the data."""
    try:
        getattr(os, "fdatasync", os.fsync)(fd)
    except OSError as error:
        raise disk_error("syncing", error) from error


def fsync(fd: int) -> None:
    """fsync(2). Do not repeat one that failed, as for `fdatasync`."""
    try:
        os.fsync(fd)
    except OSError as error:
        raise disk_error("syncing", error) from error


def start_writeback(fd: int, start: int, end: int) -> None:
    """Make the kernel start to write back `start` to `end`, so that a sync soon afterwards takes less time. This is a
    hint: its result says nothing, and the sync reports a write that fails."""
    sync_range = _libc("sync_file_range", ctypes.c_int, ctypes.c_int64, ctypes.c_int64, ctypes.c_uint)
    if sync_range is not None:
        sync_range(fd, start, end - start, _SYNC_FILE_RANGE_WRITE)


def preallocate(fd: int, size: int) -> None:
    """Give the file its size and its disk space.

    Calls fallocate(2) and not posix_fallocate(3). On file systems without preallocation the latter writes into every
    block; on a network file system that transfers as many bytes as the model has.
    """
    if size == 0:
        return
    fallocate = _libc("fallocate", ctypes.c_int, ctypes.c_int, ctypes.c_int64, ctypes.c_int64)
    code = errno.ENOSYS
    if fallocate is not None:
        code = errno.EINTR
        while code == errno.EINTR:  # a signal; Python's own calls continue after one (PEP 475)
            code = ctypes.get_errno() if fallocate(fd, 0, 0, size) else 0
    try:
        if code in _CANNOT_PREALLOCATE:
            os.ftruncate(fd, size)
        elif code:
            raise OSError(code, os.strerror(code))
    except OSError as error:
        raise disk_error("preallocating", error, size) from error


@cache
def _libc(name: str, *argument_types: Any) -> Any:
    """Function `name` of the C library, or None if it has none."""
    function = getattr(ctypes.CDLL(None, use_errno=True), name, None)
    if function is not None:
        function.argtypes = argument_types
    return function


def disk_error(doing: str, error: OSError, size: int = 0) -> MachineError:
    """The MachineError for `error`, which ended `doing`. `size`: bytes that did not fit, if the disk is full."""
    if error.errno == errno.EDQUOT:
        message = (
            f"the disk quota of this user, group or project is used up ({doing}); free some space or raise the quota"
        )
        return InsufficientSpace(message, shortfall=size)
    if error.errno == errno.ENOSPC:
        return InsufficientSpace(f"the disk is full ({doing}); free some space or use a larger disk", shortfall=size)
    if error.errno in (errno.EACCES, errno.EPERM, errno.EROFS):
        where = f" {error.filename}" if error.filename else ""
        message = f"{doing} failed{where}: {error.strerror}; allow the user of this process to write there"
        return DiskError(message, reason="NotWritable")
    return DiskError(f"{doing} failed: {error.strerror or error}; check the disk and the kernel's log")
