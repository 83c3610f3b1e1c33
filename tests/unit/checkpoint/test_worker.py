"""Chunks are read back, synced and committed, and files are verified, without a network."""

from __future__ import annotations

import hashlib
import os
import threading
from pathlib import Path
from random import Random
from typing import Any

import pytest

from modelferry.checkpoint.api import CommitResult, WrittenChunk
from modelferry.checkpoint.worker import CheckpointWorker
from modelferry.errors import DiskError
from modelferry.maintenance.revision_check import verify
from modelferry.manifest import Digest, FileEntry, Location
from modelferry.manifest.entries import content_addressed
from modelferry.storage import file_io
from unit.checkpoint.one_file_model import (
    CHUNK,
    DATA,
    fetch,
    incoming_file,
    manifest,
    next_process,
    rows,
    write,
    written_chunk,
)


def test_a_committed_chunk_has_its_row(worker: CheckpointWorker) -> None:
    assert fetch(worker, 1) == [CommitResult(True)]
    assert rows(worker)[:2] == [
        (0, 0, CHUNK, "pending", "", "", 0),
        (1, CHUNK, 2 * CHUNK, "done", '"v"', "m", 0),
    ]


def test_chunks_of_one_batch_share_one_sync_and_one_commit(
    worker: CheckpointWorker, monkeypatch: pytest.MonkeyPatch
) -> None:
    synced: list[int] = []
    monkeypatch.setattr(file_io, "fdatasync", synced.append)
    assert fetch(worker, 0, 2, 3) == [CommitResult(True)] * 3
    assert len(synced) == 1


def test_a_chunk_is_synced_before_its_row_is_committed(
    worker: CheckpointWorker, monkeypatch: pytest.MonkeyPatch
) -> None:
    seen: list[str] = []
    monkeypatch.setattr(file_io, "fdatasync", lambda fd: seen.append(str(rows(worker)[0][3])))
    fetch(worker, 0)
    assert seen == ["pending"]


def test_a_chunk_is_synced_while_it_is_read_back(worker: CheckpointWorker, monkeypatch: pytest.MonkeyPatch) -> None:
    began, real = threading.Event(), os.preadv
    waited: list[bool] = []

    def preadv(*arguments: Any) -> int:
        waited.append(began.wait(10))
        return int(real(*arguments))

    monkeypatch.setattr(os, "preadv", preadv)
    monkeypatch.setattr(file_io, "fdatasync", lambda fd: began.set())
    assert fetch(worker, 0) == [CommitResult(True)]
    assert waited == [True]


def test_many_small_files_share_one_commit_that_verifies_them(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    contents = {f"small/{number}": Random(number).randbytes(100 + number) for number in range(5)}
    entries = tuple(
        FileEntry(name, len(content), Digest("sha256", hashlib.sha256(content).hexdigest()), (Location("https://x/"),))
        for name, content in contents.items()
    )
    worker = CheckpointWorker(tmp_path, boot_id="boot-1", clock=lambda: 1000.0)
    try:
        worker.open(content_addressed(entries))
        incoming = tmp_path / ".modelferry" / "incoming" / worker.manifest.revision
        for name, content in contents.items():
            (incoming / name).write_bytes(content if name != "small/3" else bytes(len(content)))
        inodes = [(incoming / name).stat().st_ino for name in contents]
        # The sync of one fails; the bytes of another are wrong.
        synced: list[int] = []

        def sync(fd: int) -> None:
            synced.append(os.fstat(fd).st_ino)
            if synced[-1] == inodes[1]:
                raise DiskError("syncing failed")

        monkeypatch.setattr(file_io, "fdatasync", sync)
        commits: list[str] = []
        worker.chunk_store._db.set_trace_callback(commits.append)
        results = worker.commit_chunks(
            [WrittenChunk(number, 0, 0, inode, "", "") for number, inode in enumerate(inodes)]
        )
        assert results == [CommitResult(number != 1, "disk" if number == 1 else "") for number in range(5)]
        assert sorted(synced) == sorted(inodes)
        assert commits.count("COMMIT") == 1
        assert [state.verified for state in worker.states] == [True, False, True, False, True]
        assert [row.verified for row in worker.chunk_store.files(worker.manifest.revision)] == [
            state.verified for state in worker.states
        ]
        assert worker.verify_file(1).missing == (0,)
        assert worker.verify_file(3).actual == f"sha256:{hashlib.sha256(bytes(103)).hexdigest()}"
    finally:
        worker.close()


def test_a_failed_sync_leaves_the_chunk_pending_and_is_not_repeated(
    worker: CheckpointWorker, monkeypatch: pytest.MonkeyPatch
) -> None:
    calls: list[int] = []

    def fail(fd: int) -> None:
        calls.append(fd)
        raise DiskError("syncing failed")

    with monkeypatch.context() as patch:
        patch.setattr(file_io, "fdatasync", fail)
        assert fetch(worker, 0) == [CommitResult(False, "disk")]
    assert len(calls) == 1
    assert rows(worker)[0][3] == "pending"
    assert fetch(worker, 0) == [CommitResult(True)]


def test_a_failed_sync_also_rejects_chunks_of_the_file_that_were_written_before(
    worker: CheckpointWorker, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail(fd: int) -> None:
        raise DiskError("syncing failed")

    assert fetch(worker, 3) == [CommitResult(True)]
    write(worker, 1)
    with monkeypatch.context() as patch:
        patch.setattr(file_io, "fdatasync", fail)
        assert fetch(worker, 0) == [CommitResult(False, "disk")]
    # That sync may have lost chunk 1 as well, and only it got the error: chunk 1 must be written again.
    assert worker.commit_chunks([written_chunk(worker, 1)]) == [CommitResult(False, "disk")]
    assert fetch(worker, 0, 1) == [CommitResult(True)] * 2
    assert fetch(worker, 2) == [CommitResult(False, "disk")]
    assert fetch(worker, 2) == [CommitResult(True)]
    assert worker.verify_file(0).verified


@pytest.mark.parametrize("changes", [{"generation": 7}, {"inode": 1}])
def test_a_chunk_of_another_generation_or_inode_is_stale(worker: CheckpointWorker, changes: dict[str, object]) -> None:
    write(worker, 0)
    assert worker.commit_chunks([written_chunk(worker, 0, **changes)]) == [CommitResult(False, "stale")]


def test_bytes_that_differ_from_the_servers_digest_are_not_committed(worker: CheckpointWorker) -> None:
    write(worker, 0, 1)
    good = hashlib.sha256(DATA[CHUNK + 10 : 2 * CHUNK]).hexdigest()
    wrong = hashlib.sha256(b"else").hexdigest()
    begin = hashlib.sha256(DATA[CHUNK : CHUNK + 20]).hexdigest()
    right = ((CHUNK + 10, 2 * CHUNK, good), (CHUNK, CHUNK + 20, begin))
    wrongs = [((0, CHUNK, wrong),), ((0, 10, wrong),), (*right, (CHUNK + 1, CHUNK + 2, wrong))]
    assert worker.commit_chunks([written_chunk(worker, 1, digests=right)]) == [CommitResult(True)]
    for digests in wrongs:
        index = digests[0][0] // CHUNK
        assert worker.commit_chunks([written_chunk(worker, index, digests=digests)]) == [CommitResult(False, "digest")]


@pytest.mark.parametrize("order", [(0, 1, 2, 3), (3, 2, 1, 0), (1, 3, 0, 2)])
def test_the_running_digest_is_right_in_any_order_of_chunks(worker: CheckpointWorker, order: tuple[int, ...]) -> None:
    for index in order:
        fetch(worker, index)
        while worker.catch_up():
            pass
    assert worker.states[0].running_digest.next == 4
    assert worker.verify_file(0).verified


def test_a_chunk_that_is_reported_twice_is_committed_twice(worker: CheckpointWorker) -> None:
    assert fetch(worker, 0) + fetch(worker, 0) == [CommitResult(True)] * 2
    assert worker.states[0].done == CHUNK


def test_a_file_is_not_verified_while_chunks_are_missing(worker: CheckpointWorker) -> None:
    fetch(worker, 0, 2)
    assert worker.verify_file(0).missing == (1, 3)


def test_damage_on_the_disk_is_reported_by_chunk(worker: CheckpointWorker) -> None:
    fetch(worker, 3)
    fetch(worker, 0, 1, 2)
    write(worker, 2, data=bytes(len(DATA)))
    # What was hashed when it was committed is not read again; the next process has to, for 3 came out of order.
    successor = next_process(worker)
    successor.open(manifest())
    assert successor.verify_file(0).missing == (2,)
    assert rows(successor)[2][3] == "pending"
    fetch(successor, 2)
    assert successor.verify_file(0).verified
    successor.close()


def test_a_chunk_that_is_fetched_again_reports_whether_it_changed(worker: CheckpointWorker) -> None:
    wrong = bytes([DATA[0] ^ 1]) + DATA[1:]
    write(worker, 0, 1, 2, 3, data=wrong)
    worker.commit_chunks([written_chunk(worker, index) for index in range(4)])
    result = worker.verify_file(0)
    assert (result.verified, result.missing) == (False, ())
    assert result.actual == f"sha256:{hashlib.sha256(wrong).hexdigest()}"
    worker.mark_pending(0, 1)
    assert rows(worker)[1][3] == "pending"
    assert fetch(worker, 1) == [CommitResult(True, changed=False)]
    worker.mark_pending(0, 0)
    assert fetch(worker, 0) == [CommitResult(True, changed=True)]
    assert worker.verify_file(0).verified


def test_a_new_generation_is_another_inode_with_nothing_done(worker: CheckpointWorker) -> None:
    fetch(worker, 0, 1)
    late = written_chunk(worker, 2)
    opened = worker.restart_file(0, 0)
    assert (opened.generation, opened.missing) == (1, (0, 1, 2, 3))
    assert worker.restart_file(0, 0) == opened
    assert incoming_file(worker).read_bytes() == bytes(len(DATA))
    assert worker.commit_chunks([late]) == [CommitResult(False, "stale")]


def test_the_digest_that_git_uses_is_computed_and_compared(tmp_path: Path) -> None:
    name = hashlib.sha1(b"blob %d\0" % len(DATA) + DATA).hexdigest()
    entry = FileEntry("d/a", len(DATA), Digest("git-sha1", name), (Location("https://x/"),))
    worker = CheckpointWorker(tmp_path, boot_id="boot-1", clock=lambda: 1000.0)
    worker.open(content_addressed((entry,)))
    try:
        # Out of order, so that the digest begins in the reading and is completed by what is on the disk.
        fetch(worker, 2, 3)
        fetch(worker, 0, 1)
        assert worker.verify_file(0).verified
        worker.publish()
    finally:
        worker.close()
    (tmp_path / ".modelferry" / "chunks.db").unlink()
    assert verify(tmp_path).ok
    (tmp_path / "current" / "d" / "a").write_bytes(DATA[:-1] + b"x")
    assert not verify(tmp_path).ok


def test_a_digest_without_gits_header_is_a_mismatch(tmp_path: Path) -> None:
    entry = FileEntry("d/a", len(DATA), Digest("git-sha1", hashlib.sha1(DATA).hexdigest()), (Location("https://x/"),))
    worker = CheckpointWorker(tmp_path, boot_id="boot-1", clock=lambda: 1000.0)
    worker.open(content_addressed((entry,)))
    fetch(worker, 0, 1, 2, 3)
    result = worker.verify_file(0)
    worker.close()
    assert not result.verified
    assert result.expected == str(entry.digest)
