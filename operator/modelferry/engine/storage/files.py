"""Reading and writing at offsets. Every function blocks; all raise DiskError (InsufficientSpace for a full disk)."""

from __future__ import annotations

import ctypes
import errno
import os
from collections.abc import Iterator
from functools import cache
from typing import Any

from modelferry.errors import DiskError, InsufficientSpace, MachineError

#: File systems that cannot preallocate (NFS before 4.2, some FUSE): the file gets its size, and the space check
#: stands alone.
_CANNOT = (errno.EOPNOTSUPP, errno.ENOSYS, errno.EINVAL)

_SYNC_FILE_RANGE_WRITE = 2


def write_at(fd: int, data: memoryview, offset: int) -> None:
    """Write all of `data` at `offset`, however short the single writes are."""
    while data:
        try:
            count = os.pwrite(fd, data, offset)
        except OSError as error:
            raise disk_error("writing", error, len(data)) from error
        data, offset = data[count:], offset + count


def read_span(fd: int, start: int, end: int, buffer: memoryview) -> Iterator[memoryview]:
    """The bytes from `start` to `end`, through `buffer`: each piece is good until the next. Short where the file
    ends."""
    while start < end:
        try:
            count = os.preadv(fd, [buffer[: min(len(buffer), end - start)]], start)
        except OSError as error:
            raise disk_error("reading", error) from error
        if count == 0:
            return
        yield buffer[:count]
        start += count


def sync_data(fd: int) -> None:
    """fdatasync. Where it fails it must not be tried again: the pages are marked clean all the same."""
    try:
        getattr(os, "fdatasync", os.fsync)(fd)
    except OSError as error:
        raise disk_error("syncing", error) from error


def sync_whole(fd: int) -> None:
    """fsync; raises DiskError."""
    try:
        os.fsync(fd)
    except OSError as error:
        raise disk_error("syncing", error) from error


def begin_writing(fd: int, start: int, end: int) -> None:
    """Have the kernel begin to write out `start` to `end`, so that a sync soon after waits less. A hint: what it
    answers says nothing, and a write that fails is told by the sync."""
    if (begin := _libc("sync_file_range", ctypes.c_int, ctypes.c_int64, ctypes.c_int64, ctypes.c_uint)) is not None:
        begin(fd, start, end - start, _SYNC_FILE_RANGE_WRITE)


def allocate(fd: int, size: int) -> None:
    """Give the file its size and its space.

    fallocate(2) itself and not posix_fallocate(3), which on file systems without preallocation writes into every block:
    for a network file system that is the whole model once more over the wire.
    """
    if size == 0:
        return
    fallocate = _libc("fallocate", ctypes.c_int, ctypes.c_int, ctypes.c_int64, ctypes.c_int64)
    code = errno.ENOSYS
    if fallocate is not None:
        code = errno.EINTR
        while code == errno.EINTR:  # a signal, after which Python's own calls would go on (PEP 475)
            code = ctypes.get_errno() if fallocate(fd, 0, 0, size) else 0
    try:
        if code in _CANNOT:
            os.ftruncate(fd, size)
        elif code:
            raise OSError(code, os.strerror(code))
    except OSError as error:
        raise disk_error("preallocating", error, size) from error


@cache
def _libc(name: str, *arguments: Any) -> Any:
    """Function `name` of the C library with these argument types; None where it has none."""
    function = getattr(ctypes.CDLL(None, use_errno=True), name, None)
    if function is not None:
        function.argtypes = arguments
    return function


def disk_error(doing: str, error: OSError, size: int = 0) -> MachineError:
    """The MachineError that `error`, met while `doing`, becomes."""
    if error.errno in (errno.ENOSPC, errno.EDQUOT):
        return InsufficientSpace(f"the disk is full ({doing}); make room or use a larger disk", shortfall=size)
    if error.errno in (errno.EACCES, errno.EPERM, errno.EROFS):
        where = f" {error.filename}" if error.filename else ""
        message = f"{doing} failed{where}: {error.strerror}; let the user of this process write there"
        return DiskError(message, reason="NotWritable")
    return DiskError(f"{doing} failed: {error.strerror or error}; check the disk and the kernel's log")
