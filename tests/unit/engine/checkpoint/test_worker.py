"""The checkpoint's own work, without a network: what is durable, what is refused, what is recovered."""

from __future__ import annotations

import hashlib
import os
import sqlite3
import threading
from collections.abc import Iterator
from contextlib import closing, suppress
from pathlib import Path
from random import Random
from typing import Any

import pytest

from modelferry.engine.checkpoint.api import CommitResult, OpenedFile, QuarantinedMirror, WrittenChunk
from modelferry.engine.checkpoint.chunk_store_reader import read_quarantined
from modelferry.engine.checkpoint.publishing import revisions_to_remove
from modelferry.engine.checkpoint.ready_marker import ReadyMarker
from modelferry.engine.checkpoint.worker import CheckpointWorker
from modelferry.engine.maintenance.revision_check import verify
from modelferry.engine.storage import file_io
from modelferry.errors import DirectoryBusy, DiskError, ForeignDirectory
from modelferry.manifest import Digest, FileEntry, Location, Manifest
from modelferry.manifest.entries import content_addressed
from unit.engine.storage.faulty_disk import Killed, kill_at

CHUNK = 4096
#: Calls that change the disk while a model of one file in one directory is published.
STEPS = 20
CALLS = ("fsync", "rename", "symlink", "mkdir", "unlink", "fchmod")
DATA = Random(3).randbytes(3 * CHUNK + 100)


@pytest.fixture(autouse=True)
def small_chunks(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("modelferry.manifest.chunks.CHUNK_SIZE", CHUNK)


def manifest(digest: bytes = DATA) -> Manifest:
    return content_addressed(
        (FileEntry("d/a", len(DATA), Digest("sha256", hashlib.sha256(digest).hexdigest()), (Location("https://x/"),)),)
    )


@pytest.fixture
def worker(tmp_path: Path) -> Iterator[CheckpointWorker]:
    worker = CheckpointWorker(tmp_path, boot_id="boot-1", clock=lambda: 1000.0)
    worker.open(manifest())
    yield worker
    worker.close()


def again(worker: CheckpointWorker, boot_id: str = "boot-1") -> CheckpointWorker:
    """The next process on the same directory."""
    worker.close()
    return CheckpointWorker(worker.root, boot_id=boot_id, clock=lambda: 2000.0)


def path(worker: CheckpointWorker) -> Path:
    return worker.root / ".modelferry" / "incoming" / worker.manifest.revision / "d" / "a"


def write(worker: CheckpointWorker, *indices: int, data: bytes = DATA) -> None:
    """What the fetching side does."""
    with path(worker).open("r+b") as file:
        for index in indices:
            file.seek(index * CHUNK)
            file.write(data[index * CHUNK : (index + 1) * CHUNK])


def report(worker: CheckpointWorker, index: int, **changes: object) -> WrittenChunk:
    facts = {"generation": 0, "inode": path(worker).stat().st_ino, "validator": '"v"', "mirror": "m"} | changes
    return WrittenChunk(0, index, **facts)  # type: ignore[arg-type]


def fetch(worker: CheckpointWorker, *indices: int) -> list[CommitResult]:
    write(worker, *indices)
    return worker.commit_chunks([report(worker, index) for index in indices])


def rows(worker: CheckpointWorker) -> list[tuple[object, ...]]:
    """chunks.db, as anybody can read it."""
    db = sqlite3.connect(worker.root / ".modelferry" / "chunks.db")
    try:
        return list(db.execute('SELECT "index", start, "end", status, etag, mirror, generation FROM chunks'))
    finally:
        db.close()


def test_a_directory_is_prepared_before_anything_is_fetched(worker: CheckpointWorker) -> None:
    assert path(worker).stat().st_size == len(DATA)
    assert path(worker).stat().st_blocks * 512 >= len(DATA)
    assert worker.states[0].missing() == (0, 1, 2, 3)


def test_a_committed_chunk_is_in_the_database(worker: CheckpointWorker) -> None:
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
        receipts = worker.commit_chunks(
            [WrittenChunk(number, 0, 0, inode, "", "") for number, inode in enumerate(inodes)]
        )
        assert receipts == [CommitResult(number != 1, "disk" if number == 1 else "") for number in range(5)]
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


def test_a_failed_sync_leaves_the_chunk_pending_and_is_not_tried_again(
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


def test_a_failed_sync_spoils_what_was_written_of_other_chunks_of_the_file(
    worker: CheckpointWorker, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail(fd: int) -> None:
        raise DiskError("syncing failed")

    assert fetch(worker, 3) == [CommitResult(True)]
    write(worker, 1)
    with monkeypatch.context() as patch:
        patch.setattr(file_io, "fdatasync", fail)
        assert fetch(worker, 0) == [CommitResult(False, "disk")]
    # Chunk 1 may have been lost by that sync, which alone was told so: it counts when it was written after it.
    assert worker.commit_chunks([report(worker, 1)]) == [CommitResult(False, "disk")]
    assert fetch(worker, 0, 1) == [CommitResult(True)] * 2
    assert fetch(worker, 2) == [CommitResult(False, "disk")]
    assert fetch(worker, 2) == [CommitResult(True)]
    assert worker.verify_file(0).verified


@pytest.mark.parametrize("changes", [{"generation": 7}, {"inode": 1}])
def test_a_report_about_another_file_is_stale(worker: CheckpointWorker, changes: dict[str, object]) -> None:
    write(worker, 0)
    assert worker.commit_chunks([report(worker, 0, **changes)]) == [CommitResult(False, "stale")]


def test_bytes_that_the_server_did_not_mean_are_not_committed(worker: CheckpointWorker) -> None:
    write(worker, 0, 1)
    good = hashlib.sha256(DATA[CHUNK + 10 : 2 * CHUNK]).hexdigest()
    wrong = hashlib.sha256(b"else").hexdigest()
    begin = hashlib.sha256(DATA[CHUNK : CHUNK + 20]).hexdigest()
    right = ((CHUNK + 10, 2 * CHUNK, good), (CHUNK, CHUNK + 20, begin))
    wrongs = [((0, CHUNK, wrong),), ((0, 10, wrong),), (*right, (CHUNK + 1, CHUNK + 2, wrong))]
    assert worker.commit_chunks([report(worker, 1, digests=right)]) == [CommitResult(True)]
    for digests in wrongs:
        index = digests[0][0] // CHUNK
        assert worker.commit_chunks([report(worker, index, digests=digests)]) == [CommitResult(False, "digest")]


@pytest.mark.parametrize("order", [(0, 1, 2, 3), (3, 2, 1, 0), (1, 3, 0, 2)])
def test_the_whole_digest_holds_in_whatever_order_chunks_come(worker: CheckpointWorker, order: tuple[int, ...]) -> None:
    for index in order:
        fetch(worker, index)
        while worker.catch_up():
            pass
    assert worker.states[0].running_digest.next == 4
    assert worker.verify_file(0).verified


def test_a_repeated_report_is_committed_again(worker: CheckpointWorker) -> None:
    assert fetch(worker, 0) + fetch(worker, 0) == [CommitResult(True)] * 2
    assert worker.states[0].done == CHUNK


def test_a_file_is_not_finished_while_chunks_are_missing(worker: CheckpointWorker) -> None:
    fetch(worker, 0, 2)
    assert worker.verify_file(0).missing == (1, 3)


def test_damage_on_the_disk_is_told_by_chunk(worker: CheckpointWorker) -> None:
    fetch(worker, 3)
    fetch(worker, 0, 1, 2)
    write(worker, 2, data=bytes(len(DATA)))
    # What was hashed when it was committed is not read again; the next process has to, for 3 came out of order.
    follower = again(worker)
    follower.open(manifest())
    assert follower.verify_file(0).missing == (2,)
    assert rows(follower)[2][3] == "pending"
    fetch(follower, 2)
    assert follower.verify_file(0).verified
    follower.close()


def test_a_chunk_that_is_compared_tells_whether_it_came_the_same(worker: CheckpointWorker) -> None:
    wrong = bytes([DATA[0] ^ 1]) + DATA[1:]
    write(worker, 0, 1, 2, 3, data=wrong)
    worker.commit_chunks([report(worker, index) for index in range(4)])
    finish = worker.verify_file(0)
    assert (finish.verified, finish.missing) == (False, ())
    assert finish.actual == f"sha256:{hashlib.sha256(wrong).hexdigest()}"
    worker.mark_pending(0, 1)
    assert rows(worker)[1][3] == "pending"
    assert fetch(worker, 1) == [CommitResult(True, changed=False)]
    worker.mark_pending(0, 0)
    assert fetch(worker, 0) == [CommitResult(True, changed=True)]
    assert worker.verify_file(0).verified


def test_a_new_generation_is_another_inode_with_nothing_done(worker: CheckpointWorker) -> None:
    fetch(worker, 0, 1)
    late = report(worker, 2)
    opened = worker.restart_file(0, 0)
    assert (opened.generation, opened.missing) == (1, (0, 1, 2, 3))
    assert worker.restart_file(0, 0) == opened
    assert path(worker).read_bytes() == bytes(len(DATA))
    assert worker.commit_chunks([late]) == [CommitResult(False, "stale")]


def test_publishing_shows_the_revision_at_once_and_marks_it_last(worker: CheckpointWorker) -> None:
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
    follower = again(worker)
    assert follower.open(manifest()).published
    follower.close()


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
    follower = again(worker)
    opened = follower.open(manifest())
    assert opened.files == (OpenedFile(0, True, (), (("m", '"v"'),)),)
    assert opened.published == current.exists()
    follower.publish()
    assert (current / "d" / "a").read_bytes() == DATA
    assert (current / ".modelferry-ready.json").exists()
    follower.close()


def test_those_are_all_steps(worker: CheckpointWorker, monkeypatch: pytest.MonkeyPatch) -> None:
    fetch(worker, 0, 1, 2, 3)
    worker.verify_file(0)
    with monkeypatch.context() as patch:
        kill_at(patch, STEPS + 1, *CALLS)
        worker.publish()


def test_a_second_process_is_refused_by_name(worker: CheckpointWorker) -> None:
    other = CheckpointWorker(worker.root, boot_id="boot-1", clock=lambda: 0.0)
    with pytest.raises(DirectoryBusy, match=rf"process {os.getpid()} is working in it"):
        other.open(manifest())


def test_a_foreign_directory_is_not_touched(tmp_path: Path) -> None:
    (tmp_path / "thesis").write_text("x")
    with pytest.raises(ForeignDirectory, match="thesis"):
        CheckpointWorker(tmp_path, boot_id="", clock=lambda: 0.0).open(manifest())
    assert [entry.name for entry in tmp_path.iterdir()] == ["thesis"]


def test_what_no_manifest_speaks_of_is_removed(worker: CheckpointWorker) -> None:
    fetch(worker, 0)
    other = content_addressed((FileEntry("b", 10, None, (Location("https://x/b"),)),))
    worker.open(other)
    incoming = worker.root / ".modelferry" / "incoming"
    assert [entry.name for entry in incoming.iterdir()] == [other.revision]
    assert len(rows(worker)) == 1


def test_after_an_unclean_boot_nothing_is_believed(worker: CheckpointWorker) -> None:
    fetch(worker, 0, 1, 2)
    write(worker, 1, data=bytes(len(DATA)))
    follower = again(worker, "boot-2")
    opened = follower.open(manifest())
    assert (opened.files[0].missing, opened.rehashed) == ((1, 3), 3)
    assert follower.chunk_store.boot_id == "boot-2"
    last = again(follower, "boot-2")
    assert last.open(manifest()).rehashed == 0
    last.close()


@pytest.mark.parametrize(
    ("previous", "gone"), [("b", ["a", "c"]), (None, ["a", "b"]), ("new", ["a", "b"]), ("nothing", ["a", "b"])]
)
def test_which_revisions_go(previous: str | None, gone: list[str]) -> None:
    assert revisions_to_remove("new", previous, {"a": 1.0, "b": 2.0, "c": 3.0, "new": 4.0}) == gone


def test_gits_own_digest_of_a_file_is_grown_and_compared(tmp_path: Path) -> None:
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


def test_gits_digest_of_other_bytes_is_a_mismatch(tmp_path: Path) -> None:
    entry = FileEntry("d/a", len(DATA), Digest("git-sha1", hashlib.sha1(DATA).hexdigest()), (Location("https://x/"),))
    worker = CheckpointWorker(tmp_path, boot_id="boot-1", clock=lambda: 1000.0)
    worker.open(content_addressed((entry,)))
    fetch(worker, 0, 1, 2, 3)
    finish = worker.verify_file(0)
    worker.close()
    assert not finish.verified
    assert finish.expected == str(entry.digest)


LIAR = QuarantinedMirror("lab", "https://lab/d/a", "served wrong bytes of d/a")


def test_a_quarantine_outlives_the_process_that_found_it(worker: CheckpointWorker) -> None:
    worker.quarantine(LIAR)
    worker.quarantine(LIAR)
    after = again(worker)
    assert after.open(manifest()).quarantined == (LIAR,)
    after.close()


def test_a_quarantine_is_of_one_revision(worker: CheckpointWorker) -> None:
    worker.quarantine(LIAR)
    after = again(worker)
    assert after.open(manifest(b"another one")).quarantined == ()
    after = again(after)
    assert after.open(manifest()).quarantined == ()
    after.close()


def test_a_database_of_before_there_were_quarantines_gets_them(worker: CheckpointWorker) -> None:
    worker.close()
    with closing(sqlite3.connect(worker.root / ".modelferry" / "chunks.db")) as db:
        db.execute("DROP TABLE quarantine")
    assert read_quarantined(worker.root / ".modelferry" / "chunks.db", manifest().revision) == ()
    after = again(worker)
    assert after.open(manifest()).notes == ()
    after.quarantine(LIAR)
    after.close()
    assert read_quarantined(worker.root / ".modelferry" / "chunks.db", manifest().revision) == (LIAR,)
