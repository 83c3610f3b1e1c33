"""``current`` on a file system without symbolic links (huggingface/huggingface_hub#2399), where it is a directory."""

from __future__ import annotations

import errno
import os
import shutil
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path

import pytest

from modelferry.agent.wait import check_model
from modelferry.checkpoint.api import OpenedFile
from modelferry.checkpoint.ready_marker import ReadyMarker
from modelferry.checkpoint.worker import CheckpointWorker
from modelferry.errors import DamagedState, DirectoryBusy
from modelferry.maintenance.inspection import inspect
from modelferry.maintenance.revision_check import verify
from modelferry.manifest import Manifest
from unit.checkpoint.one_file_model import CHUNK, DATA, fetch, manifest, next_process, write, written_chunk
from unit.storage.faulty_disk import Killed, kill_at

OTHER = DATA[::-1]
#: Calls that change the disk while a second revision is published.
STEPS = 36
CALLS = ("fsync", "rename", "mkdir", "unlink", "fchmod")


@pytest.fixture
def no_links(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """A file system without symbolic links."""

    def refuse(*_arguments: object, **_options: object) -> None:
        raise OSError(errno.EPERM, os.strerror(errno.EPERM))

    with monkeypatch.context() as patch:
        patch.setattr(os, "symlink", refuse)
        yield


def worker_at(root: Path) -> CheckpointWorker:
    return CheckpointWorker(root, boot_id="boot-1", clock=lambda: 1000.0)


def prepare(root: Path, content: bytes) -> CheckpointWorker:
    """A worker with all of a revision but its publication."""
    worker = worker_at(root)
    worker.open(manifest(content))
    write(worker, 0, 1, 2, 3, data=content)
    worker.commit_chunks([written_chunk(worker, index) for index in range(4)])
    worker.verify_file(0)
    return worker


def publish(root: Path, content: bytes = DATA) -> Manifest:
    worker = prepare(root, content)
    worker.publish()
    worker.close()
    return worker.manifest


def read(root: Path) -> bytes:
    return (root / "current" / "d" / "a").read_bytes()


def revisions(root: Path) -> set[str]:
    return {path.name for path in (root / "revisions").iterdir()}


@pytest.mark.usefixtures("no_links")
def test_current_is_the_directory_of_the_revision_and_every_command_reads_it(tmp_path: Path) -> None:
    published = publish(tmp_path)
    assert not (tmp_path / "current").is_symlink()
    assert read(tmp_path) == DATA
    assert revisions(tmp_path) == set()
    for place in (tmp_path, tmp_path / "current"):
        ready = check_model(place, published.revision)
        assert isinstance(ready, ReadyMarker), ready
    assert verify(tmp_path).ok
    [view] = inspect(tmp_path).revisions
    assert (view.revision, view.ready, view.current) == (published.revision, True, True)
    worker = worker_at(tmp_path)
    opened = worker.open(manifest())
    worker.close()
    assert (opened.published, opened.notes) == (True, ())


@pytest.mark.usefixtures("no_links")
def test_the_former_revision_moves_to_revisions_and_back(tmp_path: Path) -> None:
    first, second = publish(tmp_path), publish(tmp_path, OTHER)
    assert read(tmp_path) == OTHER
    assert revisions(tmp_path) == {first.revision}
    assert {view.revision: view.current for view in inspect(tmp_path).revisions} == {
        second.revision: True,
        first.revision: False,
    }
    worker = worker_at(tmp_path)
    assert worker.open(manifest()).published
    worker.close()
    assert read(tmp_path) == DATA
    assert revisions(tmp_path) == {second.revision}


@pytest.mark.usefixtures("no_links")
@pytest.mark.parametrize("step", range(1, STEPS + 1))
def test_killed_at_any_step_of_a_second_publication_the_next_start_completes_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, step: int
) -> None:
    publish(tmp_path)
    worker = prepare(tmp_path, OTHER)
    with monkeypatch.context() as patch, suppress(Killed):
        kill_at(patch, step, *CALLS)
        worker.publish()
    current = tmp_path / "current"
    assert not current.exists() or isinstance(check_model(tmp_path, None), ReadyMarker)
    successor = next_process(worker)
    opened = successor.open(manifest(OTHER))
    assert opened.files == (OpenedFile(0, True, (), (("m", '"v"'),)),)
    successor.publish()
    successor.close()
    assert read(tmp_path) == OTHER
    assert verify(tmp_path).ok
    back = worker_at(tmp_path)
    assert back.open(manifest()).published
    back.close()
    assert read(tmp_path) == DATA


@pytest.mark.usefixtures("no_links")
def test_a_second_publication_has_no_more_steps(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    publish(tmp_path)
    worker = prepare(tmp_path, OTHER)
    with monkeypatch.context() as patch:
        kill_at(patch, STEPS + 1, *CALLS)
        worker.publish()
    worker.close()


@pytest.mark.usefixtures("no_links")
def test_a_damaged_current_revision_is_unpublished_and_repaired(tmp_path: Path) -> None:
    publish(tmp_path)
    (tmp_path / "current" / "d" / "a").unlink()
    worker = worker_at(tmp_path)
    opened = worker.open(manifest())
    assert (opened.published, opened.files[0].missing) == (False, (0, 1, 2, 3))
    assert not (tmp_path / "current").exists()
    write(worker, 0, 1, 2, 3)
    worker.commit_chunks([written_chunk(worker, index, generation=1) for index in range(4)])
    worker.verify_file(0)
    worker.publish()
    worker.close()
    assert read(tmp_path) == DATA
    assert len(DATA) == 3 * CHUNK + 100


def test_a_directory_that_was_copied_between_file_systems_is_used(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    linked, stick, back = tmp_path / "linked", tmp_path / "stick", tmp_path / "back"
    linked.mkdir()
    publish(linked)
    shutil.copytree(linked, stick)  # follows the link, as cp -rL does
    assert isinstance(check_model(stick, None), ReadyMarker)
    assert verify(stick).ok
    with monkeypatch.context() as patch:
        patch.setattr(os, "symlink", lambda *_, **__: (_ for _ in ()).throw(OSError(errno.ENOSYS, "none")))
        second = publish(stick, OTHER)
        assert read(stick) == OTHER
        assert second.revision not in revisions(stick)
    shutil.copytree(stick, back)
    worker = worker_at(back)
    assert worker.open(manifest()).published
    worker.close()
    assert (back / "current").is_symlink()
    assert revisions(back) == {second.revision, worker.manifest.revision}
    assert read(back) == DATA


@pytest.mark.usefixtures("no_links")
def test_a_directory_in_use_is_told_and_keeps_the_former_revision(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    publish(tmp_path)
    worker = prepare(tmp_path, OTHER)
    rename = os.rename

    def refuse(old: str, new: str, **options: int) -> None:
        if old == "current":
            raise OSError(errno.EACCES, os.strerror(errno.EACCES))
        rename(old, new, **options)

    with monkeypatch.context() as patch:
        patch.setattr(os, "rename", refuse)
        with pytest.raises(DirectoryBusy, match="stop the programs that read the model, and run the same command"):
            worker.publish()
    assert read(tmp_path) == DATA
    successor = next_process(worker)
    assert successor.open(manifest(OTHER)).published
    successor.close()
    assert read(tmp_path) == OTHER


def test_a_directory_current_that_is_nobodys_is_told(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    worker = worker_at(tmp_path)
    worker.open(manifest())
    fetch(worker, 0, 1, 2, 3)
    worker.verify_file(0)
    (tmp_path / "current" / "mine").mkdir(parents=True)
    with pytest.raises(DamagedState, match="current is a directory without a READY marker; move it away"):
        worker.publish()
    assert (tmp_path / "current" / "mine").is_dir()
    worker.close()
