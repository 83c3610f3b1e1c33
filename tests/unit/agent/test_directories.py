"""Directories on a node: made and removed by descriptor, never through a link, never outside the root."""

from __future__ import annotations

import errno
import os
import stat
import subprocess
from pathlib import Path

import pytest

from modelferry.agent import directories
from modelferry.agent.directories import create_directory, parse_path, remove_directory
from modelferry.errors import DirectoryBusy, DiskError, ForeignDirectory, InvalidSpec

UID, GID = os.getuid(), os.getgid()


def prepare(root: Path) -> Path:
    create_directory(root, "speech", "chattts", uid=UID, gid=GID)
    return root / "speech" / "chattts"


@pytest.mark.parametrize(
    ("text", "parts"), [("speech/chattts", ("speech", "chattts")), ("a/" + "b" * 63, ("a", "b" * 63))]
)
def test_a_namespace_and_a_name_are_read(text: str, parts: tuple[str, str]) -> None:
    assert parse_path(text) == parts


@pytest.mark.parametrize(
    "text",
    [
        "",
        "speech",
        "/speech",
        "speech/",
        "../etc",
        "speech/..",
        "a/b/c",
        "a/B",
        "a/b\n",
        "a/" + "b" * 64,
        "./a",
        "a/-b",
    ],
)
def test_any_other_path_is_refused(text: str) -> None:
    with pytest.raises(InvalidSpec, match="NAMESPACE/NAME"):
        parse_path(text)


def test_the_directory_is_made_for_its_group_whatever_the_umask(tmp_path: Path) -> None:
    before = os.umask(0o077)
    try:
        made = prepare(tmp_path)
    finally:
        os.umask(before)
    status = made.stat()
    assert stat.S_IMODE(status.st_mode) == 0o2775
    assert (status.st_uid, status.st_gid) == (UID, GID)


@pytest.mark.skipif(os.geteuid() != 0, reason="giving a directory away needs root")
def test_the_directory_belongs_to_the_download_pods_user(tmp_path: Path) -> None:
    create_directory(tmp_path, "speech", "chattts", uid=65532, gid=65533)
    status = (tmp_path / "speech" / "chattts").stat()
    assert (status.st_uid, status.st_gid) == (65532, 65533)
    outer = (tmp_path / "speech").stat()
    assert (outer.st_uid, stat.S_IMODE(outer.st_mode) & 0o022) == (0, 0), "another may swap the directory for a link"


@pytest.mark.parametrize("call", ["fchown", "fchmod"])
def test_a_file_system_without_owners_is_used_if_its_mount_has_the_right_one(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, call: str
) -> None:
    """FAT and SMB have the owner of the mount."""

    def refuse(*_arguments: object) -> None:
        raise PermissionError(errno.EPERM, os.strerror(errno.EPERM))

    monkeypatch.setattr(os, call, refuse)
    assert prepare(tmp_path).is_dir()


def test_a_file_system_without_owners_whose_mount_has_another_is_told(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(*_arguments: object) -> None:
        raise PermissionError(errno.EPERM, os.strerror(errno.EPERM))

    monkeypatch.setattr(os, "fchown", refuse)
    with pytest.raises(DiskError, match=f"belongs to user {UID}; mount it with uid=65532,gid=65533, or") as raised:
        create_directory(tmp_path, "speech", "chattts", uid=65532, gid=65533)
    assert raised.value.reason == "UnsuitableFileSystem"


def test_making_it_again_keeps_what_is_inside(tmp_path: Path) -> None:
    (prepare(tmp_path) / "model.bin").write_bytes(b"whole")
    assert (prepare(tmp_path) / "model.bin").read_bytes() == b"whole"


@pytest.mark.parametrize("link", ["speech", "speech/chattts"])
def test_a_link_in_the_way_is_never_followed(tmp_path: Path, link: str) -> None:
    root, elsewhere = tmp_path / "root", tmp_path / "elsewhere"
    (elsewhere / "chattts").mkdir(parents=True)
    (elsewhere / "chattts" / "precious").write_text("kept")
    mode = elsewhere.stat().st_mode
    (root / link).parent.mkdir(parents=True)
    (root / link).symlink_to(elsewhere)
    with pytest.raises(ForeignDirectory, match="is not a directory but a link or a file"):
        prepare(root)
    with pytest.raises(ForeignDirectory, match="is not a directory but a link or a file"):
        remove_directory(root, "speech", "chattts")
    assert (elsewhere / "chattts" / "precious").read_text() == "kept"
    assert elsewhere.stat().st_mode == mode


def test_a_file_in_the_way_is_told(tmp_path: Path) -> None:
    (tmp_path / "speech").write_text("")
    with pytest.raises(ForeignDirectory, match="speech is not a directory"):
        prepare(tmp_path)


def test_a_root_that_is_missing_is_told(tmp_path: Path) -> None:
    with pytest.raises(DiskError, match="No such file"):
        prepare(tmp_path / "absent")
    with pytest.raises(DiskError, match="No such file"):
        remove_directory(tmp_path / "absent", "speech", "chattts")


def test_everything_inside_is_removed_and_nothing_that_is_linked_to(tmp_path: Path) -> None:
    root, outside = tmp_path / "root", tmp_path / "outside"
    outside.mkdir()
    (outside / "precious").write_text("kept")
    root.mkdir()
    made = prepare(root)
    (made / "revisions" / "a" / "deep").mkdir(parents=True)
    (made / "revisions" / "a" / "deep" / "model.bin").write_bytes(b"x")
    (made / "current").symlink_to("revisions/a")
    (made / "escape").symlink_to(outside)
    (made / "revisions" / "escape").symlink_to(outside / "precious")
    os.mkfifo(made / "pipe")
    (made / "read-only").mkdir(mode=0o555)
    remove_directory(root, "speech", "chattts")
    assert list(root.iterdir()) == []
    assert (outside / "precious").read_text() == "kept"


@pytest.mark.parametrize("code", [errno.EROFS, errno.EPERM])
def test_a_snapshot_directory_that_cannot_be_removed_is_passed_over(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, code: int
) -> None:
    """A filer shows one in each directory. It goes with its directory, which this test does in the filer's place."""
    made = prepare(tmp_path)
    (made / "revisions").mkdir()
    (made / "revisions" / "file").touch()
    (made / ".snapshot").mkdir()
    (made / ".snapshot" / "hourly").touch()
    unlink, rmdir = os.unlink, os.rmdir

    def unlink_but_no_snapshot(name: str, *, dir_fd: int) -> None:
        if name == "hourly":
            raise OSError(code, os.strerror(code), name)
        unlink(name, dir_fd=dir_fd)

    def rmdir_with_its_snapshots(name: str, *, dir_fd: int) -> None:
        if name == "chattts":
            unlink(made / ".snapshot" / "hourly")
            rmdir(made / ".snapshot")
        rmdir(name, dir_fd=dir_fd)

    monkeypatch.setattr(os, "unlink", unlink_but_no_snapshot)
    monkeypatch.setattr(os, "rmdir", rmdir_with_its_snapshots)
    remove_directory(tmp_path, "speech", "chattts")
    assert list(tmp_path.iterdir()) == []


def test_a_file_system_that_is_mounted_for_the_namespace_stays(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    prepare(tmp_path)
    rmdir = os.rmdir

    def rmdir_but_no_mount(name: str, *, dir_fd: int) -> None:
        if name == "speech":
            raise OSError(errno.EBUSY, os.strerror(errno.EBUSY))
        rmdir(name, dir_fd=dir_fd)

    monkeypatch.setattr(os, "rmdir", rmdir_but_no_mount)
    remove_directory(tmp_path, "speech", "chattts")
    assert list((tmp_path / "speech").iterdir()) == []


def test_a_mount_inside_is_not_entered(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (prepare(tmp_path) / "revisions").mkdir()

    def refuse(outer: int, inner: int, name: str) -> None:
        raise ForeignDirectory(f"{name}: another file system is mounted there; unmount it")

    monkeypatch.setattr(directories, "_check_same_file_system", refuse)
    with pytest.raises(ForeignDirectory, match="unmount it"):
        remove_directory(tmp_path, "speech", "chattts")


def test_the_namespace_stays_while_another_model_is_in_it(tmp_path: Path) -> None:
    prepare(tmp_path)
    create_directory(tmp_path, "speech", "whisper", uid=UID, gid=GID)
    remove_directory(tmp_path, "speech", "chattts")
    assert [path.name for path in (tmp_path / "speech").iterdir()] == ["whisper"]


def test_removing_what_is_not_there_is_done_already(tmp_path: Path) -> None:
    remove_directory(tmp_path, "speech", "chattts")
    prepare(tmp_path)
    remove_directory(tmp_path, "speech", "chattts")
    remove_directory(tmp_path, "speech", "chattts")
    assert list(tmp_path.iterdir()) == []


def test_a_tree_too_deep_for_descriptors_and_stack_is_removed(tmp_path: Path) -> None:
    made = prepare(tmp_path)
    inner = os.open(made, os.O_RDONLY)
    for _ in range(3000):
        os.mkdir("d", dir_fd=inner)
        outer, inner = inner, os.open("d", os.O_RDONLY, dir_fd=inner)
        os.close(outer)
    os.close(inner)
    try:
        remove_directory(tmp_path, "speech", "chattts")
        assert list(tmp_path.iterdir()) == []
    finally:
        # What a failure leaves, pytest's own clean-up could not remove: it recurses.
        subprocess.run(["rm", "-rf", str(tmp_path / "speech")], check=True)


def test_a_directory_that_is_written_to_meanwhile_is_busy(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    made = prepare(tmp_path)
    (made / "file").write_text("")
    unlink = os.unlink

    def unlink_and_write(name: str, *, dir_fd: int) -> None:
        unlink(name, dir_fd=dir_fd)
        (made / f"{name}x").write_text("")

    monkeypatch.setattr(os, "unlink", unlink_and_write)
    monkeypatch.setattr(directories, "_MAX_PASSES", 20)
    with pytest.raises(DirectoryBusy, match="in use"):
        remove_directory(tmp_path, "speech", "chattts")


def test_a_namespace_removed_between_two_steps_is_made_again(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    mkdir = os.mkdir
    removed: list[str] = []

    def mkdir_after_a_removal(name: str, mode: int, *, dir_fd: int) -> None:
        if name == "chattts" and not removed:
            removed.append(name)
            (tmp_path / "speech").rmdir()
        mkdir(name, mode, dir_fd=dir_fd)

    monkeypatch.setattr(os, "mkdir", mkdir_after_a_removal)
    assert prepare(tmp_path).is_dir()
    assert removed == ["chattts"]
