"""What a file system can do is tried before the first byte, and what it cannot do is named."""

from __future__ import annotations

import errno
import os
from collections.abc import Iterator
from pathlib import Path

import pytest

from modelferry.errors import DiskError
from modelferry.storage import file_io
from modelferry.storage.capabilities import Capabilities, check_names, creating, probe
from modelferry.storage.tree import Tree


@pytest.fixture
def tree(tmp_path: Path) -> Iterator[Tree]:
    tree = Tree(tmp_path)
    yield tree
    tree.close()


def fail(monkeypatch: pytest.MonkeyPatch, call: str, code: int) -> None:
    """Let system call `call` fail with `code`, as a file system that lacks it does."""

    def refuse(*_arguments: object, **_options: object) -> None:
        raise OSError(code, os.strerror(code))

    monkeypatch.setattr(os, call, refuse)


def test_a_file_system_of_linux_can_do_everything_and_the_probe_leaves_nothing(tree: Tree) -> None:
    assert probe(tree) == Capabilities()
    assert tree.list_names(".modelferry") == set()
    assert Capabilities().notes() == []


@pytest.mark.parametrize("code", [errno.EPERM, errno.EOPNOTSUPP, errno.ENOSYS, errno.EINVAL, errno.EACCES])
def test_a_file_system_may_have_no_links(tree: Tree, monkeypatch: pytest.MonkeyPatch, code: int) -> None:
    """huggingface/huggingface_hub#2399: an SMB share. FAT answers EPERM, SMB EOPNOTSUPP, FUSE ENOSYS."""
    fail(monkeypatch, "symlink", code)
    fail(monkeypatch, "link", code)
    found = probe(tree)
    assert found == Capabilities(symlinks=False, hard_links=False)
    assert "current is a directory" in found.notes()[0]
    assert tree.list_names(".modelferry") == set()


@pytest.mark.parametrize("code", [errno.EINVAL, errno.ENOTSUP])
def test_a_file_system_may_be_unable_to_sync_a_directory(
    tree: Tree, monkeypatch: pytest.MonkeyPatch, code: int
) -> None:
    """mudler/LocalAI#10477, borgbackup/borg#1287."""
    fail(monkeypatch, "fsync", code)
    found = probe(tree)
    assert found == Capabilities(directory_sync=False)
    assert "after a power failure, run the same command again" in found.notes()[0]


@pytest.mark.parametrize(
    ("call", "code", "named"),
    [
        ("rename", errno.EPERM, "cannot replace a file by a rename (Operation not permitted)"),
        ("rename", errno.ENOSYS, "cannot replace a file by a rename (Function not implemented)"),
        ("pwrite", errno.EOPNOTSUPP, "cannot write into the middle of a file (Operation not supported)"),
    ],
)
def test_what_cannot_be_done_without_is_named_with_the_remedy(
    tree: Tree, monkeypatch: pytest.MonkeyPatch, call: str, code: int, named: str
) -> None:
    """Buckets that are mounted as a file system have neither."""
    fail(monkeypatch, call, code)
    with pytest.raises(DiskError) as raised:
        probe(tree)
    assert raised.value.message.startswith(f"{tree.root}: the file system {named}; use a directory on another")
    assert raised.value.reason == "UnsuitableFileSystem"
    assert tree.list_names(".modelferry") == set()


@pytest.mark.parametrize("call", ["symlink", "rename", "pwrite"])
def test_a_disk_that_is_full_or_broken_is_no_missing_ability(
    tree: Tree, monkeypatch: pytest.MonkeyPatch, call: str
) -> None:
    for code in (errno.ENOSPC, errno.EIO):
        with monkeypatch.context() as patch:
            fail(patch, call, code)
            with pytest.raises(OSError, match=os.strerror(code)):
                probe(tree)


def test_a_file_system_that_has_no_modes_is_used(tree: Tree, monkeypatch: pytest.MonkeyPatch) -> None:
    fail(monkeypatch, "fchmod", errno.EPERM)
    tree.make_directories("a")
    tree.write_atomically("a/b", b"x")
    assert tree.read("a/b") == b"x"


@pytest.mark.parametrize(("one", "other"), [("A.txt", "a.txt"), ("D/x", "d/X"), ("caf\u00e9", "cafe\u0301")])
def test_names_that_are_one_where_case_is_ignored_are_refused(tree: Tree, one: str, other: str) -> None:
    check_names(tree, ["a", "d/a", "d/b", "e"])
    with pytest.raises(DiskError, match=f"ignores case: {one} and {other} are one name there; use a directory on"):
        check_names(tree, [one, "b", other])


def test_a_file_whose_name_or_size_cannot_be_is_named(tree: Tree, monkeypatch: pytest.MonkeyPatch) -> None:
    with (
        pytest.raises(DiskError, match="cannot have a file with the name 'a:b' \\(Invalid argument\\); use"),
        creating(tree, "d/a:b", 1),
    ):
        raise OSError(errno.EINVAL, os.strerror(errno.EINVAL))
    monkeypatch.setattr(file_io, "_libc", lambda *_: None)
    fail(monkeypatch, "ftruncate", errno.EFBIG)
    with (
        pytest.raises(DiskError, match=r"cannot have big.bin, which has 5 GiB \(FAT32 ends at 4 GiB\); use"),
        creating(tree, "big.bin", 5 << 30),
    ):
        file_io.preallocate(-1, 5 << 30)
    with pytest.raises(OSError, match="Input/output"), creating(tree, "a", 1):
        raise OSError(errno.EIO, os.strerror(errno.EIO))


def test_case_is_ignored_where_a_name_is_found_in_upper_case(tree: Tree, monkeypatch: pytest.MonkeyPatch) -> None:
    lstat = Tree.lstat
    monkeypatch.setattr(Tree, "lstat", lambda tree, path: lstat(tree, path.replace("FILE", "file")))
    assert probe(tree) == Capabilities(case_sensitive=False)
