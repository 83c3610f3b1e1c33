"""Writes to incoming files: by the event loop while the disk is fast, by threads while it is slow."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Callable
from pathlib import Path

import pytest

from modelferry.storage import file_io, layout
from modelferry.storage.incoming_files import LONGEST_PAUSE, PAUSE, SLOW, DiskLatency, IncomingFiles


class Clock:
    """Seconds that the test advances."""

    def __init__(self) -> None:
        self.now = 100.0

    def __call__(self) -> float:
        return self.now


def test_a_slow_write_is_followed_by_a_pause_and_several_by_longer_ones() -> None:
    clock = Clock()
    latency = DiskLatency(clock)
    pauses = []
    for _ in range(7):
        assert latency.is_low
        latency.record(SLOW)
        begun = clock.now
        while not latency.is_low:
            clock.now += 0.5
        pauses.append(clock.now - begun)
    assert pauses == [PAUSE, 2 * PAUSE, 4 * PAUSE, 8 * PAUSE, 16 * PAUSE, LONGEST_PAUSE, LONGEST_PAUSE]


def test_after_a_fast_write_the_next_pause_is_short_again() -> None:
    clock = Clock()
    latency = DiskLatency(clock)
    for seconds in (SLOW, SLOW, 0.0, SLOW):
        clock.now += LONGEST_PAUSE
        assert latency.is_low
        latency.record(seconds)
    clock.now += PAUSE
    assert latency.is_low


async def test_the_event_loop_writes_until_the_disk_is_slow_and_again_after_a_pause(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    clock, loop_thread = Clock(), threading.get_ident()
    by_loop: list[bool] = []
    takes = iter([0.0, 2 * SLOW, 0.0, 0.0, 0.0])
    real: Callable[[int, memoryview, int], None] = file_io.write_at

    def write(fd: int, data: memoryview, offset: int) -> None:
        clock.now += next(takes)
        by_loop.append(threading.get_ident() == loop_thread)
        real(fd, data, offset)

    monkeypatch.setattr(file_io, "write_at", write)
    directory = tmp_path / layout.incoming_path("r")
    directory.mkdir(parents=True)
    (directory / "file").touch()
    disk = IncomingFiles(str(tmp_path), "r", clock)
    try:
        async with disk.open("file") as sink:
            for number in range(4):
                await sink.write(memoryview(b"%d" % number), number)
            clock.now += PAUSE
            await sink.write(memoryview(b"4"), 4)
    finally:
        disk.close()
    assert by_loop == [True, True, False, False, True]
    assert (directory / "file").read_bytes() == b"01234"


async def test_a_cancelled_write_to_a_slow_disk_ends_before_its_file_is_closed(
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

    monkeypatch.setattr(file_io, "write_at", write)
    directory = tmp_path / layout.incoming_path("r")
    directory.mkdir(parents=True)
    (directory / "file").touch()
    disk = IncomingFiles(str(tmp_path), "r", clock)
    try:
        async with disk.open("file") as sink:
            await sink.write(memoryview(b"0"), 0)
            writing = asyncio.ensure_future(sink.write(memoryview(b"1"), 1))
            await begun.wait()
            writing.cancel()
            done, _ = await asyncio.wait([writing], timeout=0)
            assert not done, "the thread still uses the descriptor"
            go.set()
            with pytest.raises(asyncio.CancelledError):
                await writing
    finally:
        go.set()
        disk.close()
