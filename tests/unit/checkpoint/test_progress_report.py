"""The progress of a download as people see it."""

from __future__ import annotations

from dataclasses import replace

from modelferry.checkpoint.api import Telemetry
from modelferry.checkpoint.chunk_store_reader import ChunkRow
from modelferry.checkpoint.digests import RunningDigest
from modelferry.checkpoint.file_states import FileState
from modelferry.checkpoint.progress_report import chunk_letters, progress_report
from modelferry.manifest import Digest, FileEntry, Location
from modelferry.messages import FileProgress, Progress

DIGEST = Digest("md5", "0" * 32)


def state(number: int, done: int, *, digest: Digest | None = DIGEST, verified: bool = False) -> FileState:
    """A file of four chunks of 10 bytes, the first `done` of which are done."""
    entry = FileEntry(f"f{number}", 40, digest, (Location("https://x/"),))
    rows = [ChunkRow(number, i, i * 10, i * 10 + 10, i < done, "", "", 0, None) for i in range(4)]
    found = FileState(number, entry, number, 0, verified, rows, RunningDigest.of(entry))
    found.recount()
    return found


QUIET = Telemetry()


def progress(*states: FileState, telemetry: Telemetry = QUIET, speed: float = 0.0, message: str = "") -> Progress:
    received = sum(state.done for state in states) + telemetry.in_flight
    return progress_report(
        "r", states, telemetry, received=received, phase="fetching", speed=speed, rehashed=0, message=message
    )


def test_committed_bytes_and_received_bytes_are_counted_separately() -> None:
    seen = progress(state(0, 4, verified=True), state(1, 2), telemetry=Telemetry(in_flight=5, connections=3, retries=1))
    assert (seen.total, seen.done, seen.received) == (80, 60, 65)
    assert (seen.files_total, seen.files_done, seen.connections, seen.retries) == (2, 1, 3, 1)


def test_received_bytes_do_not_exceed_the_total() -> None:
    assert progress(state(0, 3), telemetry=Telemetry(in_flight=100)).received == 40


def test_there_is_no_estimate_without_a_speed() -> None:
    assert progress(state(0, 2)).eta is None
    assert progress(state(0, 2), speed=5.0).eta == 4.0
    assert progress(state(0, 4)).eta == 0.0


def test_active_files_are_listed_first() -> None:
    states = [state(0, 4, verified=True), state(1, 0), state(2, 1)]
    assert progress(*states).files == (
        FileProgress("f2", 40, 10, "fetching"),
        FileProgress("f1", 40, 0, "pending"),
        FileProgress("f0", 40, 40, "verified"),
    )


def test_the_checksum_is_known_when_all_files_are() -> None:
    good, unknown = state(0, 4, verified=True), state(1, 4, digest=None, verified=True)
    wrong = state(2, 4)
    wrong.mismatch = True
    assert progress(good).checksum == "verified"
    assert progress(good, state(1, 3)).checksum == "pending"
    assert progress(good, unknown).checksum == "unknown"
    assert progress(good, wrong).checksum == "mismatch"


def test_the_checkpoints_message_replaces_that_of_the_fetching_side() -> None:
    telemetry = Telemetry(message="trying again")
    assert progress(state(0, 0), telemetry=telemetry).message == "trying again"
    assert progress(state(0, 0), telemetry=telemetry, message="set aside").message == "set aside"


def test_a_file_counts_its_done_bytes() -> None:
    found = state(0, 2)
    found.mark_done(replace(found.rows[2], done=True))
    found.mark_done(replace(found.rows[2], done=True))
    assert (found.done, found.missing()) == (30, (3,))
    found.mark_pending(0)
    found.mark_pending(0)
    assert (found.done, found.missing()) == (20, (0, 3))
    found.mark_restarted(1)
    assert (found.done, found.phase, found.opened().generation) == (0, "pending", 1)


def test_each_chunk_has_a_letter_in_the_order_of_the_manifest() -> None:
    first, second = state(0, 4), state(1, 1)
    second.rows[2] = replace(second.rows[2], digest=b"x")  # was done once
    assert chunk_letters([first, second], []) == "dddd" + "dpbp"
    assert chunk_letters([first, second], [("f1", 15), ("f1", 29), ("f0", 0), ("f9", 3)]) == "dddd" + "diip"
    assert chunk_letters([], [("f1", 15)]) == ""
