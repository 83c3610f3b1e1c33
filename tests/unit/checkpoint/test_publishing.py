"""A revision is published in steps, any of which may be the last of its process."""

from __future__ import annotations

import errno
from contextlib import suppress
from pathlib import Path

import pytest

from modelferry.checkpoint.api import OpenedFile
from modelferry.checkpoint.publishing import revisions_to_remove
from modelferry.checkpoint.ready_marker import ReadyMarker
from modelferry.checkpoint.worker import CheckpointWorker
from modelferry.storage.tree import Tree
from unit.checkpoint.one_file_model import DATA, fetch, manifest, next_process
from unit.storage.faulty_disk import Killed, kill_at

#: Calls that change the disk while a model of one file in one directory is published.
STEPS = 26
CALLS = ("fsync", "rename", "symlink", "mkdir", "unlink", "fchmod")


def test_a_published_revision_is_current_and_has_its_marker(worker: CheckpointWorker) -> None:
    fetch(worker, 0, 1, 2, 3)
    worker.verify_file(0)
    worker.publish()
    worker.publish()
    current = worker.root / "current"
    assert str(current.readlink()) == f"revisions/{worker.manifest.revision}"
    assert (current / "d" / "a").read_bytes() == DATA
    marker = ReadyMarker.decode((current / ".modelferry-ready.json").read_bytes())
    assert (marker.revision, marker.bytes, marker.published) == (worker.manifest.revision, len(DATA), 1000.0)
    assert marker.files[0].checksum == "verified"
    successor = next_process(worker)
    assert successor.open(manifest()).published
    successor.close()


@pytest.mark.parametrize("step", range(1, STEPS + 1))
def test_killed_at_any_step_of_publishing_the_next_start_completes_it(
    worker: CheckpointWorker, monkeypatch: pytest.MonkeyPatch, step: int
) -> None:
    fetch(worker, 0, 1, 2, 3)
    worker.verify_file(0)
    with monkeypatch.context() as patch, suppress(Killed):
        kill_at(patch, step, *CALLS)
        worker.publish()
    current = worker.root / "current"
    assert not current.exists() or (current / ".modelferry-ready.json").exists()
    successor = next_process(worker)
    opened = successor.open(manifest())
    assert opened.files == (OpenedFile(0, True, (), (("m", '"v"'),)),)
    assert opened.published == current.exists()
    successor.publish()
    assert (current / "d" / "a").read_bytes() == DATA
    assert (current / ".modelferry-ready.json").exists()
    successor.close()


def test_publishing_has_no_more_steps(worker: CheckpointWorker, monkeypatch: pytest.MonkeyPatch) -> None:
    fetch(worker, 0, 1, 2, 3)
    worker.verify_file(0)
    with monkeypatch.context() as patch:
        kill_at(patch, STEPS + 1, *CALLS)
        worker.publish()


@pytest.mark.parametrize(
    ("previous", "gone"), [("b", ["a", "c"]), (None, ["a", "b"]), ("new", ["a", "b"]), ("nothing", ["a", "b"])]
)
def test_the_previous_or_else_the_newest_revision_stays(previous: str | None, gone: list[str]) -> None:
    assert revisions_to_remove("new", previous, {"a": 1.0, "b": 2.0, "c": 3.0, "new": 4.0}) == gone


def test_a_volume_with_the_entries_of_its_file_system_is_used_and_keeps_them(tmp_path: Path) -> None:
    kept = ["lost+found", ".snapshot/hourly.0", "System Volume Information", ".Trash-1000"]
    for name in kept:
        (tmp_path / name).mkdir(parents=True)
    worker = CheckpointWorker(tmp_path, boot_id="boot-1", clock=lambda: 1000.0)
    worker.open(manifest())
    fetch(worker, 0, 1, 2, 3)
    worker.verify_file(0)
    (tmp_path / "revisions" / ".snapshot").mkdir(parents=True)
    worker.publish()
    worker.close()
    assert (tmp_path / "current" / "d" / "a").read_bytes() == DATA
    assert all((tmp_path / name).is_dir() for name in [*kept, "revisions/.snapshot"])


def test_an_old_revision_whose_files_are_open_over_nfs_does_not_fail_the_publication(
    worker: CheckpointWorker, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in ("old", "older"):
        (worker.root / "revisions" / name).mkdir(parents=True)
    remove = Tree.remove

    def refuse(tree: Tree, path: str) -> None:
        if path.startswith("revisions/") and "/." not in path:
            raise OSError(errno.ENOTEMPTY, "Directory not empty")
        remove(tree, path)

    monkeypatch.setattr(Tree, "remove", refuse)
    fetch(worker, 0, 1, 2, 3)
    worker.verify_file(0)
    worker.publish()
    assert (worker.root / "current" / "d" / "a").read_bytes() == DATA
