"""How bytes get to the disk: by the loop itself while the disk is quick, by threads while it is not; many files synced
at once."""

from __future__ import annotations

import asyncio
import os
import threading
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from modelferry.engine.storage import files, layout
from modelferry.engine.storage.sink import LONGEST_REST, REST, SLOW, Disk, DiskLatency
from modelferry.engine.storage.syncer import Syncer
from modelferry.engine.storage.tree import Tree
from modelferry.errors import DiskError, MachineError


class Clock:
    """Seconds that a test lets pass."""

    def __init__(self) -> None:
        self.now = 100.0

    def __call__(self) -> float:
        return self.now


def test_a_slow_write_is_followed_by_a_rest_and_several_by_longer_ones() -> None:
    clock = Clock()
    tempo = DiskLatency(clock)
    rests = []
    for _ in range(7):
        assert tempo.quick
        tempo.took(SLOW)
        began = clock.now
        while not tempo.quick:
            clock.now += 0.5
        rests.append(clock.now - began)
    assert rests == [REST, 2 * REST, 4 * REST, 8 * REST, 16 * REST, LONGEST_REST, LONGEST_REST]


def test_after_a_quick_write_the_next_rest_is_short_again() -> None:
    clock = Clock()
    tempo = DiskLatency(clock)
    for seconds in (SLOW, SLOW, 0.0, SLOW):
        clock.now += LONGEST_REST
        assert tempo.quick
        tempo.took(seconds)
    clock.now += REST
    assert tempo.quick


async def test_the_loop_writes_until_the_disk_is_slow_and_again_when_it_has_rested(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    clock, loop_thread = Clock(), threading.get_ident()
    by_loop: list[bool] = []
    takes = iter([0.0, 2 * SLOW, 0.0, 0.0, 0.0])
    real: Callable[[int, memoryview, int], None] = files.write_at

    def write(fd: int, data: memoryview, offset: int) -> None:
        clock.now += next(takes)
        by_loop.append(threading.get_ident() == loop_thread)
        real(fd, data, offset)

    monkeypatch.setattr(files, "write_at", write)
    where = tmp_path / layout.incoming("r")
    where.mkdir(parents=True)
    (where / "file").touch()
    disk = Disk(str(tmp_path), "r", clock)
    try:
        async with disk.open("file") as sink:
            for number in range(4):
                await sink.write(memoryview(b"%d" % number), number)
            clock.now += REST
            await sink.write(memoryview(b"4"), 4)
    finally:
        disk.close()
    assert by_loop == [True, True, False, False, True]
    assert (where / "file").read_bytes() == b"01234"


async def test_a_write_that_is_called_off_while_the_disk_is_slow_is_waited_for(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    clock, go = Clock(), threading.Event()
    begun = asyncio.Event()
    loop = asyncio.get_running_loop()

    def write(fd: int, data: memoryview, offset: int) -> None:
        if offset == 0:
            clock.now += 2 * SLOW
            return
        loop.call_soon_threadsafe(begun.set)
        go.wait(10.0)

    monkeypatch.setattr(files, "write_at", write)
    where = tmp_path / layout.incoming("r")
    where.mkdir(parents=True)
    (where / "file").touch()
    disk = Disk(str(tmp_path), "r", clock)
    try:
        async with disk.open("file") as sink:
            await sink.write(memoryview(b"0"), 0)
            writing = asyncio.ensure_future(sink.write(memoryview(b"1"), 1))
            await begun.wait()
            writing.cancel()
            done, _ = await asyncio.wait([writing], timeout=0)
            assert not done, "the thread still has the descriptor"
            go.set()
            with pytest.raises(asyncio.CancelledError):
                await writing
    finally:
        go.set()
        disk.close()


@pytest.fixture
def syncer() -> Iterator[Syncer]:
    syncer = Syncer()
    yield syncer
    syncer.close()


@pytest.mark.parametrize("count", [0, 1, 2, 7, 64])
def test_each_file_is_synced_once_and_each_fault_is_its_own(syncer: Syncer, count: int) -> None:
    synced: list[int] = []

    def sync(fd: int) -> None:
        synced.append(fd)
        if fd % 3 == 0:
            raise DiskError(f"{fd}")

    faults: list[MachineError | None] = syncer.sync(range(count), sync)
    assert sorted(synced) == list(range(count))
    assert [fault and fault.message for fault in faults] == [None if fd % 3 else str(fd) for fd in range(count)]


@pytest.mark.parametrize("count", [1, 9])
def test_files_are_synced_while_something_else_is_done(syncer: Syncer, count: int) -> None:
    other = threading.Event()
    synced: list[int] = []

    def sync(fd: int) -> None:
        assert other.wait(10), "nothing else was done meanwhile"
        synced.append(fd)
        raise DiskError(f"{fd}")

    with syncer.syncing(range(count), sync) as ended:
        assert not synced
        other.set()
        assert [fault and fault.message for fault in ended()] == [str(fd) for fd in range(count)]
    assert sorted(synced) == list(range(count))


def test_no_sync_runs_on_after_what_was_done_meanwhile_went_wrong(syncer: Syncer) -> None:
    wrong = threading.Event()
    ran: list[int] = []

    def sync(fd: int) -> None:
        assert wrong.wait(10)
        ran.append(fd)

    def go_wrong() -> None:
        with syncer.syncing(range(9), sync):
            wrong.set()
            raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError):
        go_wrong()
    assert sorted(ran) == list(range(9))


@pytest.mark.parametrize("leave", [lambda tree: tree.rename("a", "old"), lambda tree: tree.remove("a")])
def test_what_stands_at_a_path_after_a_rename_or_removal_is_what_is_opened(
    tmp_path: Path, leave: Callable[[Tree], None]
) -> None:
    tree = Tree(tmp_path)
    try:
        tree.make("a/b")
        os.close(tree.open("a/b/first", os.O_CREAT | os.O_WRONLY))
        leave(tree)
        tree.make("a/b")
        os.close(tree.open("a/b/second", os.O_CREAT | os.O_WRONLY))
        assert tree.names("a/b") == {"second"}
    finally:
        tree.close()
