"""Which directories on a node belong to which artifact, and that nothing else is removed."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from modelferry.agent.directories import create_directory, list_directories, remove_directory
from modelferry.agent.directory_owners import Owner
from modelferry.cli.main import main
from modelferry.messages.owned_directories import OwnedDirectory, decode_directories, encode_directories

UID, GID = os.getuid(), os.getgid()
CHATTTS, WHISPER, ELSEWHERE = Owner("c-1", "u-1"), Owner("c-1", "u-2"), Owner("c-2", "u-1")


def prepare(root: Path, name: str, owner: Owner | None, namespace: str = "speech") -> Path:
    create_directory(root, namespace, name, uid=UID, gid=GID, owner=owner)
    (root / namespace / name / "model.bin").write_bytes(b"x")
    return root / namespace / name


def listed(root: Path, cluster: str = "c-1") -> list[str]:
    return [str(directory) for directory in list_directories(root, cluster)]


def test_the_directories_of_a_cluster_are_listed_with_their_artifacts(tmp_path: Path) -> None:
    prepare(tmp_path, "whisper", WHISPER)
    prepare(tmp_path, "chattts", CHATTTS)
    prepare(tmp_path, "chattts", ELSEWHERE, namespace="vision")
    prepare(tmp_path, "unknown", None)
    (tmp_path / "lost+found").mkdir()
    (tmp_path / "a-file").write_text("")
    (tmp_path / "a-link").symlink_to(tmp_path / "speech")
    assert listed(tmp_path) == ["speech/chattts/u-1", "speech/whisper/u-2"]
    assert listed(tmp_path, "c-2") == ["vision/chattts/u-1"]


def test_a_directory_that_is_prepared_again_belongs_to_the_later_artifact(tmp_path: Path) -> None:
    prepare(tmp_path, "chattts", CHATTTS)
    prepare(tmp_path, "chattts", WHISPER)
    assert listed(tmp_path) == ["speech/chattts/u-2"]


@pytest.mark.parametrize("record", ["", "c-1", "c-1/", "a/b/c", "\xff"])
def test_a_directory_with_a_damaged_record_belongs_to_nobody(tmp_path: Path, record: str) -> None:
    made = prepare(tmp_path, "chattts", CHATTTS)
    (tmp_path / "speech/.chattts.owner").write_text(record, encoding="latin-1")
    assert listed(tmp_path) == []
    remove_directory(tmp_path, "speech", "chattts", owner=CHATTTS)
    assert made.exists()


@pytest.mark.parametrize("owner", [WHISPER, ELSEWHERE, None], ids=["other artifact", "other cluster", "no record"])
def test_the_directory_of_another_owner_stays(tmp_path: Path, owner: Owner | None) -> None:
    made = prepare(tmp_path, "chattts", owner)
    remove_directory(tmp_path, "speech", "chattts", owner=CHATTTS)
    assert (made / "model.bin").exists()


def test_a_directory_is_removed_with_its_record(tmp_path: Path) -> None:
    for owner in (CHATTTS, None):
        prepare(tmp_path, "chattts", CHATTTS)
        remove_directory(tmp_path, "speech", "chattts", owner=owner)
        assert list(tmp_path.iterdir()) == []


def test_a_record_whose_directory_is_gone_is_removed(tmp_path: Path) -> None:
    (prepare(tmp_path, "chattts", CHATTTS) / "model.bin").unlink()
    (tmp_path / "speech/chattts").rmdir()
    remove_directory(tmp_path, "speech", "chattts", owner=CHATTTS)
    assert list(tmp_path.iterdir()) == []


def test_a_record_is_never_written_through_a_link(tmp_path: Path) -> None:
    root, precious = tmp_path / "root", tmp_path / "precious"
    precious.write_text("kept")
    (root / "speech").mkdir(parents=True)
    for name in (".chattts.owner", ".chattts.owner.new"):
        (root / "speech" / name).symlink_to(precious)
    prepare(root, "chattts", CHATTTS)
    assert precious.read_text() == "kept"
    assert listed(root) == ["speech/chattts/u-1"]


def test_the_command_removes_what_it_is_told_and_prints_what_is_left(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """rancher/local-path-provisioner#533: a directory stays on a node that was away when its owner was deleted."""
    prepare(tmp_path, "chattts", CHATTTS)
    prepare(tmp_path, "whisper", WHISPER)
    arguments = ["agent", "orphans", "--root", str(tmp_path), "--cluster", "c-1", "--remove", "speech/chattts/u-1"]
    assert main([*arguments, "--outcome", str(tmp_path / "outcome")]) == 0
    assert decode_directories(capsys.readouterr().out) == (OwnedDirectory("speech", "whisper", "u-2"),)
    assert [path.name for path in sorted((tmp_path / "speech").iterdir())] == [".whisper.owner", "whisper"]


@pytest.mark.parametrize("log", ["", "[", '[["a", "b"]]', "{", '{"a": 1}x'])
def test_a_log_without_a_complete_list_is_an_error(log: str) -> None:
    with pytest.raises(ValueError, match=r".*"):
        decode_directories(log)


def test_an_empty_list_is_a_list() -> None:
    assert decode_directories(f"removed a/b: …\n{encode_directories([])}\n") == ()
