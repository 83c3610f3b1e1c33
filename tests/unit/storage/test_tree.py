"""A directory tree that is accessed by file descriptors."""

from __future__ import annotations

import errno
import os
import stat
from collections.abc import Callable
from pathlib import Path

import pytest

from modelferry.storage.tree import Tree


@pytest.fixture
def tree(tmp_path: Path) -> Tree:
    return Tree(tmp_path)


def test_everyone_may_read_new_files_and_directories_whatever_the_umask(tree: Tree) -> None:
    before = os.umask(0o077)
    try:
        tree.make_directories("a/b")
        os.close(tree.open("a/b/file", os.O_CREAT | os.O_WRONLY))
    finally:
        os.umask(before)
    assert (tree.root / "a" / "b").stat().st_mode & 0o777 == 0o755
    assert (tree.root / "a/b/file").stat().st_mode & 0o777 == 0o644


def test_no_link_below_the_root_is_followed(tree: Tree, tmp_path_factory: pytest.TempPathFactory) -> None:
    elsewhere = tmp_path_factory.mktemp("elsewhere")
    (elsewhere / "file").write_text("theirs")
    (tree.root / "link").symlink_to(elsewhere)
    (tree.root / "file").symlink_to(elsewhere / "file")
    with pytest.raises(OSError, match="irectory"):
        tree.open("link/file", os.O_RDONLY)
    with pytest.raises(OSError, match="symbolic"):
        tree.open("file", os.O_RDONLY)
    tree.remove("link")
    tree.remove("file")
    assert (elsewhere / "file").read_text() == "theirs"


def test_a_tree_is_removed_without_following_its_links(tree: Tree, tmp_path_factory: pytest.TempPathFactory) -> None:
    elsewhere = tmp_path_factory.mktemp("elsewhere")
    (elsewhere / "file").write_text("theirs")
    tree.make_directories("a/b")
    (tree.root / "a/b/link").symlink_to(elsewhere)
    (tree.root / "a/link").symlink_to(elsewhere / "file")
    tree.remove("a")
    assert tree.list_names() == set()
    assert (elsewhere / "file").exists()


@pytest.mark.parametrize("number", [errno.EINVAL, errno.ENOTSUP, errno.EIO])
def test_a_file_system_may_have_no_fsync_of_directories(
    tree: Tree, monkeypatch: pytest.MonkeyPatch, number: int
) -> None:
    """mudler/LocalAI#10477 and borgbackup/borg#1287: SMB and FUSE answer EINVAL or ENOTSUP. EIO is an error."""
    real = os.fsync

    def fsync(fd: int) -> None:
        if stat.S_ISDIR(os.fstat(fd).st_mode):
            raise OSError(number, os.strerror(number))
        real(fd)

    monkeypatch.setattr(os, "fsync", fsync)
    steps: list[Callable[[], None]] = [
        lambda: tree.make_directories("a/b"),
        lambda: tree.write_atomically("file", b"text"),
        lambda: tree.symlink("file", "link"),
        tree.sync_directory,
    ]
    for step in steps:
        if number == errno.EIO:
            with pytest.raises(OSError, match="nput/output"):
                step()
        else:
            step()
    assert number == errno.EIO or tree.read("file") == b"text"


def test_a_fifo_in_place_of_a_file_is_refused(tree: Tree) -> None:
    os.mkfifo(tree.root / "pipe")
    with pytest.raises(OSError, match="not a regular file"):
        tree.open("pipe", os.O_RDONLY)


def test_a_small_file_and_a_link_are_replaced_atomically(tree: Tree) -> None:
    for content in (b"one", b"two"):
        tree.write_atomically("file", content)
        tree.symlink(content.decode(), "link")
        assert tree.read("file") == content
        assert tree.readlink("link") == content.decode()
    assert tree.list_names() == {"file", "link"}
    assert tree.read("none") is None
    assert tree.readlink("file") is None


def test_files_are_listed_below_a_directory(tree: Tree) -> None:
    tree.make_directories("a/b")
    (tree.root / "a/one").touch()
    (tree.root / "a/b/two").touch()
    (tree.root / "a/link").symlink_to("/")
    assert tree.list_files("a") == {"one", "b/two", "link"}


def test_what_a_file_system_puts_there_by_itself_is_not_listed(tree: Tree) -> None:
    tree.make_directories("a/b/.snapshot/hourly.0")
    tree.make_directories(".snapshot")
    (tree.root / "a/b/.snapshot/hourly.0/one").touch()
    (tree.root / "a/.nfs00000000012a4c5b0000001f").touch()
    (tree.root / "a/one").touch()
    assert tree.list_names() == {"a"}
    assert tree.list_files("a") == {"one"}


@pytest.mark.parametrize("vacate", [lambda tree: tree.rename("a", "old"), lambda tree: tree.remove("a")])
def test_after_a_rename_or_removal_a_path_is_resolved_again(tmp_path: Path, vacate: Callable[[Tree], None]) -> None:
    tree = Tree(tmp_path)
    try:
        tree.make_directories("a/b")
        os.close(tree.open("a/b/first", os.O_CREAT | os.O_WRONLY))
        vacate(tree)
        tree.make_directories("a/b")
        os.close(tree.open("a/b/second", os.O_CREAT | os.O_WRONLY))
        assert tree.list_names("a/b") == {"second"}
    finally:
        tree.close()
