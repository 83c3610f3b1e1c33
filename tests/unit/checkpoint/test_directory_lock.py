"""The lock of a target directory."""

from __future__ import annotations

import errno
import fcntl
import os
from pathlib import Path

import pytest

from modelferry.checkpoint.directory_lock import acquire_lock
from modelferry.errors import DirectoryBusy, DiskError
from modelferry.storage import layout
from modelferry.storage.tree import Tree


@pytest.fixture
def tree(tmp_path: Path) -> Tree:
    tree = Tree(tmp_path)
    tree.make_directories(layout.STATE)
    return tree


@pytest.mark.parametrize("number", [errno.ENOLCK, errno.ENOTSUP])
def test_a_file_system_without_locks_is_named(tree: Tree, monkeypatch: pytest.MonkeyPatch, number: int) -> None:
    """Issue 14, point 13: NFS without its lock service answers ENOLCK, which said "check the disk"."""

    def flock(fd: int, operation: int) -> None:
        raise OSError(number, os.strerror(number))

    with monkeypatch.context() as patch:
        patch.setattr(fcntl, "flock", flock)
        with pytest.raises(DiskError, match="cannot lock a file") as caught:
            acquire_lock(tree)
    assert str(tree.root) in caught.value.message
    assert "local_lock" in caught.value.message
    assert caught.value.reason == "UnsuitableFileSystem"
    lock = acquire_lock(tree)
    with pytest.raises(DirectoryBusy, match=f"process {os.getpid()} "):
        acquire_lock(tree)
    os.close(lock)
