"""Repair without a network: what is fetched, what a kill at any step leaves, what is rejected."""

from __future__ import annotations

import hashlib
import os
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from random import Random

import pytest

from modelferry.checkpoint.api import CommitResult, WrittenChunk
from modelferry.checkpoint.worker import CheckpointWorker
from modelferry.errors import InsufficientSpace, SourceChanged
from modelferry.maintenance.repair import plan_repair
from modelferry.maintenance.repair_files import Repairer
from modelferry.maintenance.revision_check import RevisionReport, verify
from modelferry.manifest import Digest, FileEntry, Location, Manifest
from modelferry.manifest.entries import content_addressed
from unit.storage.faulty_disk import Killed, kill_at

CHUNK = 4096
#: Calls that change the disk while a file of four chunks in one directory is repaired, two of which are fetched.
STEPS = 26
CALLS = ("fsync", "fdatasync", "rename", "mkdir", "unlink", "rmdir", "fchmod", "copy_file_range")
DATA = Random(3).randbytes(3 * CHUNK + 100)


@pytest.fixture(autouse=True)
def small_chunks(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("modelferry.manifest.chunks.CHUNK_SIZE", CHUNK)


def manifest() -> Manifest:
    digest = Digest("sha256", hashlib.sha256(DATA).hexdigest())
    return content_addressed((FileEntry("d/a", len(DATA), digest, (Location("https://x/"),)),))


@dataclass
class Damaged:
    """A published model, two chunks of which are damaged."""

    directory: Path
    before: bytes
    report: RevisionReport

    @property
    def now(self) -> bytes:
        return (self.directory / "current" / "d" / "a").read_bytes()

    @property
    def copy(self) -> Path:
        return self.directory / ".modelferry" / "incoming" / self.report.revision / "d" / "a"

    def write(self, index: int, data: bytes = DATA) -> int:
        """Write a chunk as the fetching side does; returns the inode of the copy."""
        with self.copy.open("r+b") as file:
            file.seek(index * CHUNK)
            file.write(data[index * CHUNK : (index + 1) * CHUNK])
        return self.copy.stat().st_ino

    def deliver(self, repairer: Repairer, index: int, data: bytes = DATA) -> CommitResult:
        return repairer.commit_chunk(WrittenChunk(0, index, 0, self.write(index, data), '"v"', "m"))

    def repair(self) -> tuple[int, ...]:
        """Repair everything; returns the chunks that were missing."""
        repairer = Repairer(self.directory, self.report)
        [file] = repairer.open(plan_repair(self.report, manifest())).files
        for index in file.missing:
            assert self.deliver(repairer, index).committed
        assert repairer.verify_file(0).verified
        repairer.publish()
        repairer.close()
        return file.missing


@pytest.fixture
def damaged(tmp_path: Path) -> Damaged:
    worker = CheckpointWorker(tmp_path, boot_id="b", clock=lambda: 1000.0)
    worker.open(manifest())
    incoming = tmp_path / ".modelferry" / "incoming" / manifest().revision / "d" / "a"
    incoming.write_bytes(DATA)
    inode = incoming.stat().st_ino
    worker.commit_chunks([WrittenChunk(0, index, 0, inode, '"v"', "m") for index in range(4)])
    worker.verify_file(0)
    worker.publish()
    worker.close()
    published = tmp_path / "current" / "d" / "a"
    bad = bytearray(DATA)
    for at in (CHUNK + 1, 3 * CHUNK + 99):
        bad[at] ^= 1
    published.write_bytes(bad)
    return Damaged(tmp_path, bytes(bad), verify(tmp_path))


def test_only_damaged_chunks_are_missing(damaged: Damaged) -> None:
    assert [file.bad_chunks for file in damaged.report.damaged] == [(1, 3)]
    assert damaged.repair() == (1, 3)
    assert damaged.now == DATA
    assert verify(damaged.directory).ok
    assert not damaged.copy.parent.parent.exists()


@pytest.mark.parametrize("step", range(1, STEPS + 1))
def test_a_kill_at_any_step_leaves_the_old_or_the_right_file_and_the_next_repair_completes_it(
    damaged: Damaged, monkeypatch: pytest.MonkeyPatch, step: int
) -> None:
    with monkeypatch.context() as patch, suppress(Killed):
        kill_at(patch, step, *CALLS)
        damaged.repair()
    assert damaged.now in (damaged.before, DATA)
    damaged.report = verify(damaged.directory)
    if not damaged.report.ok:
        damaged.repair()
    assert damaged.now == DATA
    assert verify(damaged.directory).ok


def test_a_repair_has_no_more_steps(damaged: Damaged, monkeypatch: pytest.MonkeyPatch) -> None:
    with monkeypatch.context() as patch:
        kill_at(patch, STEPS + 1, *CALLS)
        damaged.repair()


def test_what_a_stopped_repair_fetched_is_not_fetched_again(damaged: Damaged) -> None:
    first = Repairer(damaged.directory, damaged.report)
    first.open(plan_repair(damaged.report, manifest()))
    assert damaged.deliver(first, 3).committed
    damaged.write(1, bytes(len(DATA)))  # was being written
    first.close()
    assert damaged.repair() == (1,)
    assert damaged.now == DATA


def test_where_the_file_system_cannot_copy_this_process_does(damaged: Damaged, monkeypatch: pytest.MonkeyPatch) -> None:
    def cannot(*_: object) -> int:
        raise OSError(18, "Invalid cross-device link")

    monkeypatch.setattr(os, "copy_file_range", cannot)
    assert damaged.repair() == (1, 3)
    assert damaged.now == DATA


def test_other_bytes_are_rejected_and_after_three_times_the_source_has_changed(damaged: Damaged) -> None:
    repairer = Repairer(damaged.directory, damaged.report)
    repairer.open(plan_repair(damaged.report, manifest()))
    other = bytes(len(DATA))
    assert damaged.deliver(repairer, 1, other) == CommitResult(False, "digest")
    assert damaged.deliver(repairer, 1, other) == CommitResult(False, "digest")
    with pytest.raises(SourceChanged, match="d/a: chunk 1 arrived 3 times from m with other bytes than were published"):
        damaged.deliver(repairer, 1, other)
    repairer.close()
    assert damaged.now == damaged.before


def test_a_chunk_of_another_inode_or_generation_is_rejected(damaged: Damaged) -> None:
    repairer = Repairer(damaged.directory, damaged.report)
    repairer.open(plan_repair(damaged.report, manifest()))
    damaged.write(1)
    assert repairer.commit_chunk(WrittenChunk(0, 1, 0, 1, '"v"', "m")) == CommitResult(False, "stale")
    repairer.restart_file(0, 0)
    assert damaged.deliver(repairer, 1) == CommitResult(False, "stale"), "of the generation before"
    repairer.close()


def test_a_disk_without_space_for_the_copy_is_reported_and_nothing_changed(
    damaged: Damaged, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("modelferry.storage.tree.Tree.disk_space", lambda self: (1000, 1 << 30))
    repairer = Repairer(damaged.directory, damaged.report)
    with pytest.raises(InsufficientSpace, match="are missing"):
        repairer.open(plan_repair(damaged.report, manifest()))
    repairer.close()
    assert damaged.now == damaged.before
