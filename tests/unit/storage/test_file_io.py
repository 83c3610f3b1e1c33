"""Reading, writing and preallocation of files."""

from __future__ import annotations

import ctypes
import errno
import os
from pathlib import Path

import pytest

from modelferry.errors import DiskError, InsufficientSpace
from modelferry.storage import file_io
from modelferry.storage.tree import Tree


def test_a_preallocated_file_has_its_size_and_holds_what_is_written(tmp_path: Path) -> None:
    tree = Tree(tmp_path)
    fd = tree.open("file", os.O_CREAT | os.O_RDWR)
    try:
        file_io.preallocate(fd, 1 << 20)
        status = os.fstat(fd)
        assert status.st_size == 1 << 20
        file_io.write_at(fd, memoryview(b"hello"), 100)
        buffer = memoryview(bytearray(3))
        assert b"".join(bytes(piece) for piece in file_io.read_range(fd, 100, 105, buffer)) == b"hello"
        assert b"".join(bytes(piece) for piece in file_io.read_range(fd, (1 << 20) - 1, 1 << 21, buffer)) == b"\0"
    finally:
        os.close(fd)
        tree.close()


@pytest.mark.parametrize(
    ("number", "kind", "reason"),
    [
        (errno.ENOSPC, InsufficientSpace, "InsufficientSpace"),
        (errno.EDQUOT, InsufficientSpace, "InsufficientSpace"),
        (errno.EIO, DiskError, "DiskError"),
        (errno.EACCES, DiskError, "NotWritable"),
        (errno.EROFS, DiskError, "NotWritable"),
    ],
)
def test_an_error_of_the_operating_system_becomes_a_machine_error(
    number: int, kind: type[Exception], reason: str
) -> None:
    translated = file_io.disk_error("writing", OSError(number, os.strerror(number)), 5)
    assert isinstance(translated, kind)
    assert translated.reason == reason


def test_a_signal_during_preallocation_is_not_a_disk_error(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    answers = [errno.EINTR, errno.EINTR, 0]

    def fallocate(fd: int, mode: int, offset: int, size: int) -> int:
        ctypes.set_errno(code := answers.pop(0))
        if not code:
            os.ftruncate(fd, size)
        return -1 if code else 0

    monkeypatch.setattr(file_io, "_libc", lambda *_: fallocate)
    with (tmp_path / "file").open("wb") as file:
        file_io.preallocate(file.fileno(), 4096)
    assert (tmp_path / "file").stat().st_size == 4096
    assert not answers


def test_a_used_up_quota_is_not_called_a_full_disk() -> None:
    """Issue 14, point 13: free space of the disk does not help whoever has no quota left."""
    error = file_io.disk_error("writing", OSError(errno.EDQUOT, os.strerror(errno.EDQUOT)), 5)
    assert "quota" in error.message
    assert "the disk is full" not in error.message
