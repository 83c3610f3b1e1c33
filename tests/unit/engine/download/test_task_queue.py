"""Which chunk is next, and what a stopped download may keep."""

from __future__ import annotations

import pytest

from modelferry.checkpoint.api import OpenedFile
from modelferry.engine.download.file_download import can_resume
from modelferry.engine.download.task_queue import TaskQueue
from modelferry.engine.download.tasks import RangeTask
from modelferry.manifest import SMALL_CHUNK, Chunk, Digest, FileEntry, Location
from unit.engine.download.task_queue_use import first, pop


def task(file: int, index: int) -> RangeTask:
    return RangeTask.of(Chunk(file, index, index * 10, index * 10 + 10))


def test_chunks_come_in_the_order_of_the_manifest() -> None:
    backlog = TaskQueue()
    for file, index in [(1, 0), (0, 2), (0, 0), (2, 1), (0, 1)]:
        backlog.push(task(file, index))
    order = []
    while found := pop(backlog, 0.0):
        order.append((found.chunk.file, found.chunk.index))
    assert order == [(0, 0), (0, 1), (0, 2), (1, 0), (2, 1)]


def test_a_chunk_that_failed_waits_alone_while_others_go_on() -> None:
    backlog = TaskQueue()
    backlog.push(task(0, 0), ready=5.0)
    backlog.push(task(0, 1))
    assert pop(backlog, 0.0) == task(0, 1)
    assert pop(backlog, 4.9) is None
    assert backlog.next_ready() == 5.0
    assert pop(backlog, 5.0) == task(0, 0)
    assert len(backlog) == 0


def test_what_may_not_be_fetched_is_passed_over_and_kept() -> None:
    backlog = TaskQueue()
    backlog.push(task(0, 0))
    backlog.push(task(1, 0))
    assert pop(backlog, 0.0, lambda candidate: candidate.file == 1) == task(1, 0)
    assert pop(backlog, 0.0) == task(0, 0)


def test_a_file_that_begins_anew_leaves_nothing_behind() -> None:
    backlog = TaskQueue()
    backlog.push(task(0, 0))
    backlog.push(task(1, 0), ready=9.0)
    backlog.push(task(0, 1), ready=9.0)
    backlog.drop(0)
    assert len(backlog) == 1
    assert pop(backlog, 9.0) == task(1, 0)


def test_progress_resets_the_count_of_failures_and_keeps_the_prefix() -> None:
    first = task(0, 1)
    assert (first.after(10).failures, first.after(10).start) == (1, 10)
    assert first.after(10).after(10).failures == 2
    again = first.after(10).after(10).after(15)
    assert (again.failures, again.start) == (1, 15)


def test_a_chunk_to_compare_is_reopened_once_and_asked_for_past_the_caches() -> None:
    compared = RangeTask.of(Chunk(0, 0, 0, 10), reopen=True)
    assert compared.fresh
    assert not compared.after(5).reopen


PINNED = FileEntry("a", 30, Digest("md5", "0" * 32), (Location("https://x/a"),))
UNPINNED = FileEntry("a", 30, None, (Location("https://x/a"),))


@pytest.mark.parametrize(
    ("entry", "validators", "kept"),
    [
        (PINNED, (("m", ""), ("n", '"1"')), True),
        (UNPINNED, (), True),
        (UNPINNED, (("m", '"1"'),), True),
        (UNPINNED, (("m", ""),), False),
        (UNPINNED, (("m", '"1"'), ("m", '"2"')), False),
        (UNPINNED, (("m", '"1"'), ("n", '"1"')), False),
    ],
)
def test_without_a_digest_only_one_version_from_one_mirror_is_completed(
    entry: FileEntry, validators: tuple[tuple[str, str], ...], kept: bool
) -> None:
    assert can_resume(entry, OpenedFile(0, False, (2,), validators)) is kept


def test_a_verified_file_is_kept_in_any_case() -> None:
    assert can_resume(UNPINNED, OpenedFile(0, True, (), (("m", ""),)))


def large(index: int) -> RangeTask:
    return RangeTask.of(Chunk(1, index, index * 2 * SMALL_CHUNK, (index + 1) * 2 * SMALL_CHUNK))


def test_small_and_large_ones_are_taken_by_choice_and_each_in_order() -> None:
    backlog = TaskQueue()
    for one in (large(1), task(2, 0), large(0), task(0, 0)):
        backlog.push(one)
    assert first(backlog, 0.0) == task(0, 0)
    assert pop(backlog, 0.0) == large(0)
    assert pop(backlog, 0.0, small=True) == task(0, 0)
    assert pop(backlog, 0.0, small=True) == task(2, 0)
    assert pop(backlog, 0.0, small=True) == large(1)
    assert backlog.bytes == 0


def test_the_bytes_that_wait_are_counted_through_everything() -> None:
    backlog = TaskQueue()
    for one in (large(0), task(0, 0), task(2, 0)):
        backlog.push(one)
    assert backlog.bytes == 2 * SMALL_CHUNK + 20
    pop(backlog, 0.0)
    assert backlog.bytes == 20
    backlog.drop(0)
    assert backlog.bytes == 10
