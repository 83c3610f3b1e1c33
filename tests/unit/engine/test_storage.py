"""Paths, trees, room on the disk."""

from __future__ import annotations

import ctypes
import errno
import os
from pathlib import Path

import pytest

from modelferry.engine.storage import files, layout
from modelferry.engine.storage.space import RESERVE, check_room
from modelferry.engine.storage.tree import Tree
from modelferry.errors import DiskError, InsufficientSpace

GIB = 1 << 30


@pytest.fixture
def tree(tmp_path: Path) -> Tree:
    return Tree(tmp_path)


@pytest.mark.parametrize(
    ("names", "foreign"),
    [(set(), None), ({"lost+found"}, None), ({".modelferry", "x"}, None), ({"lost+found", "x"}, "x")],
)
def test_whose_directory_it_is(names: set[str], foreign: str | None) -> None:
    assert layout.foreign(names) == foreign


def test_where_things_lie() -> None:
    assert layout.incoming("r1", "a/b") == ".modelferry/incoming/r1/a/b"
    assert layout.published("r1") == "revisions/r1"
    assert layout.ready("r1") == "revisions/r1/.modelferry-ready.json"


def test_what_is_made_can_be_read_by_anybody_whatever_the_umask(tree: Tree) -> None:
    before = os.umask(0o077)
    try:
        tree.make("a/b")
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
    tree.make("a/b")
    (tree.root / "a/b/link").symlink_to(elsewhere)
    (tree.root / "a/link").symlink_to(elsewhere / "file")
    tree.remove("a")
    assert tree.names() == set()
    assert (elsewhere / "file").exists()


def test_a_fifo_in_the_place_of_a_file_is_refused(tree: Tree) -> None:
    os.mkfifo(tree.root / "pipe")
    with pytest.raises(OSError, match="not a regular file"):
        tree.open("pipe", os.O_RDONLY)


def test_a_small_file_and_a_link_are_replaced_whole(tree: Tree) -> None:
    for content in (b"one", b"two"):
        tree.write("file", content)
        tree.link(content.decode(), "link")
        assert tree.read("file") == content
        assert tree.target("link") == content.decode()
    assert tree.names() == {"file", "link"}
    assert tree.read("none") is None
    assert tree.target("file") is None


def test_files_are_listed_below_a_directory(tree: Tree) -> None:
    tree.make("a/b")
    (tree.root / "a/one").touch()
    (tree.root / "a/b/two").touch()
    (tree.root / "a/link").symlink_to("/")
    assert tree.files("a") == {"one", "b/two", "link"}


def test_space_is_allocated_and_counted(tree: Tree) -> None:
    fd = tree.open("file", os.O_CREAT | os.O_RDWR)
    try:
        files.allocate(fd, 1 << 20)
        status = os.fstat(fd)
        assert status.st_size == 1 << 20
        files.write_at(fd, memoryview(b"hello"), 100)
        buffer = memoryview(bytearray(3))
        assert b"".join(bytes(piece) for piece in files.read_span(fd, 100, 105, buffer)) == b"hello"
        assert b"".join(bytes(piece) for piece in files.read_span(fd, (1 << 20) - 1, 1 << 21, buffer)) == b"\0"
    finally:
        os.close(fd)


def test_room_that_suffices_is_not_spoken_of() -> None:
    check_room("/data", 10 * GIB, 4 * GIB, 6 * GIB + RESERVE, 20 * GIB)
    check_room("/data", 10 * GIB, 10 * GIB, 0, 20 * GIB)


def test_a_disk_too_small_is_told_with_its_numbers() -> None:
    with pytest.raises(InsufficientSpace) as caught:
        check_room("/data", 10 * GIB, 4 * GIB, 2 * GIB, 12 * GIB)
    assert caught.value.shortfall == 4 * GIB + RESERVE
    assert caught.value.message == (
        "/data: 4.0 GiB are missing: the model of 10 GiB needs 6 GiB more (and 16 MiB for its records), 2 GiB are free"
        " of 12 GiB; make room or use a larger disk"
    )


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
def test_what_the_system_says_of_the_disk(number: int, kind: type[Exception], reason: str) -> None:
    fault = files.disk_error("writing", OSError(number, os.strerror(number)), 5)
    assert isinstance(fault, kind)
    assert fault.reason == reason


def test_a_signal_while_space_is_allocated_is_no_fault_of_the_disk(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    answers = [errno.EINTR, errno.EINTR, 0]

    def fallocate(fd: int, mode: int, offset: int, size: int) -> int:
        ctypes.set_errno(code := answers.pop(0))
        if not code:
            os.ftruncate(fd, size)
        return -1 if code else 0

    monkeypatch.setattr(files, "_libc", lambda *_: fallocate)
    with (tmp_path / "file").open("wb") as file:
        files.allocate(file.fileno(), 4096)
    assert (tmp_path / "file").stat().st_size == 4096
    assert not answers
