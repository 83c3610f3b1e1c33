"""A directory is made ready for work, or refused."""

from __future__ import annotations

import os
import sqlite3
from pathlib import Path

import pytest

from modelferry.checkpoint.worker import CheckpointWorker
from modelferry.errors import DirectoryBusy, DiskError, ForeignDirectory
from modelferry.manifest import FileEntry, Location
from modelferry.manifest.entries import content_addressed
from unit.checkpoint.one_file_model import DATA, fetch, incoming_file, manifest, next_process, rows, write


def test_files_are_preallocated_when_the_directory_is_opened(worker: CheckpointWorker) -> None:
    assert incoming_file(worker).stat().st_size == len(DATA)
    assert incoming_file(worker).stat().st_blocks * 512 >= len(DATA)
    assert worker.states[0].missing() == (0, 1, 2, 3)


def test_a_second_process_is_refused_with_the_pid_of_the_first(worker: CheckpointWorker) -> None:
    other = CheckpointWorker(worker.root, boot_id="boot-1", clock=lambda: 0.0)
    with pytest.raises(DirectoryBusy, match=rf"process {os.getpid()} is working in it"):
        other.open(manifest())


def test_a_foreign_directory_is_not_touched(tmp_path: Path) -> None:
    (tmp_path / "thesis").write_text("x")
    with pytest.raises(ForeignDirectory, match="thesis"):
        CheckpointWorker(tmp_path, boot_id="", clock=lambda: 0.0).open(manifest())
    assert [entry.name for entry in tmp_path.iterdir()] == ["thesis"]


def test_a_file_system_on_which_sqlite_has_no_wal_is_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """SQLite's locking by a lock file has no WAL, as all of its locking on a file system without shared mappings."""
    connect = sqlite3.connect
    monkeypatch.setattr(
        sqlite3, "connect", lambda path, **options: connect(f"file:{path}?vfs=unix-dotfile", uri=True, **options)
    )
    with pytest.raises(
        DiskError, match=r"cannot share a mapped file between processes .*; use a directory on"
    ) as raised:
        CheckpointWorker(tmp_path, boot_id="", clock=lambda: 0.0).open(manifest())
    assert raised.value.reason == "UnsuitableFileSystem"


def test_files_and_rows_of_another_manifest_are_removed(worker: CheckpointWorker) -> None:
    fetch(worker, 0)
    other = content_addressed((FileEntry("b", 10, None, (Location("https://x/b"),)),))
    worker.open(other)
    incoming = worker.root / ".modelferry" / "incoming"
    assert [entry.name for entry in incoming.iterdir()] == [other.revision]
    assert len(rows(worker)) == 1


def test_after_an_unclean_boot_every_done_chunk_is_hashed_next_process(worker: CheckpointWorker) -> None:
    fetch(worker, 0, 1, 2)
    write(worker, 1, data=bytes(len(DATA)))
    successor = next_process(worker, "boot-2")
    opened = successor.open(manifest())
    assert (opened.files[0].missing, opened.rehashed) == ((1, 3), 3)
    assert successor.chunk_store.boot_id == "boot-2"
    last = next_process(successor, "boot-2")
    assert last.open(manifest()).rehashed == 0
    last.close()
