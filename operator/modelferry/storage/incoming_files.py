"""Writes received bytes to the files of a revision that is being fetched.

A write into the page cache is a copy of 0.1 ms. The event loop makes it itself, because handing it to a thread takes as
long again. But if the disk cannot keep up, the kernel blocks a process that dirties more pages than it can write back.
So after a slow write, threads make the writes for a while, and the event loop is not blocked.
"""

from __future__ import annotations

import asyncio
import contextlib
import os
import time
from collections.abc import AsyncIterator, Callable
from concurrent.futures import ThreadPoolExecutor

from modelferry.storage import file_io, layout
from modelferry.storage.tree import Tree

#: Concurrent writes while the disk is slow.
_THREADS = 4
#: Seconds of a write that was more than a copy, which takes less than a hundredth of that.
SLOW = 0.02
#: Seconds without writes by the event loop after a slow one, and at most after several in a row. Linux blocks a writer
#: for up to 0.2 s, so the event loop is blocked for a fiftieth of the time at most.
PAUSE, LONGEST_PAUSE = 1.0, 30.0


class DiskLatency:
    """Decides by the duration of the event loop's writes whether it may make the next one."""

    def __init__(self, clock: Callable[[], float]) -> None:
        """`clock` gives seconds."""
        self.clock = clock
        self._pause = PAUSE
        self._paused_until = 0.0

    @property
    def is_low(self) -> bool:
        """May the event loop write to the disk?"""
        return self.clock() >= self._paused_until

    def record(self, seconds: float) -> None:
        """A write by the event loop took `seconds`."""
        if seconds < SLOW:
            self._pause = PAUSE
            return
        self._paused_until = self.clock() + self._pause
        self._pause = min(2 * self._pause, LONGEST_PAUSE)


class IncomingFiles:
    """The incoming files of one revision. Close it at the end."""

    def __init__(self, root: str, revision: str, clock: Callable[[], float] = time.monotonic) -> None:
        """`root`: the target directory. `clock` gives seconds. Raises DiskError if `root` cannot be opened."""
        try:
            self._tree = Tree(root)
        except OSError as error:
            raise file_io.disk_error(f"opening {root}", error) from error
        self._revision = revision
        self._threads = ThreadPoolExecutor(_THREADS, "write")
        self._latency = DiskLatency(clock)
        self._sinks: dict[Sink, str] = {}

    def close(self) -> None:
        """Close the directory."""
        self._threads.shutdown(wait=True)
        self._tree.close()

    @contextlib.asynccontextmanager
    async def open(self, path: str) -> AsyncIterator[Sink]:
        """Open the preallocated file `path` for writing while the block runs. Raises DiskError if it is missing."""
        loop = asyncio.get_running_loop()
        try:
            # Not in a thread: the checkpoint created the name a moment ago, so the kernel has it in its cache.
            fd = self._tree.open(layout.incoming_path(self._revision, path), os.O_WRONLY)
        except OSError as error:
            raise file_io.disk_error(f"opening {path}", error) from error
        sink = Sink(fd, loop, self._threads, self._latency)
        self._sinks[sink] = path
        try:
            yield sink
        finally:
            del self._sinks[sink]
            os.close(fd)

    def active(self) -> tuple[tuple[str, int], ...]:
        """(path, offset) of the last write to each open file."""
        return tuple((path, sink.last_offset) for sink, path in self._sinks.items() if sink.last_offset is not None)


class Sink:
    """One incoming file, open for writing. ``inode`` identifies it even after its path is another file's."""

    def __init__(
        self, fd: int, loop: asyncio.AbstractEventLoop, threads: ThreadPoolExecutor, latency: DiskLatency
    ) -> None:
        self._fd = fd
        self._latency = latency
        self._loop = loop
        self._threads = threads
        self.inode = os.fstat(fd).st_ino
        #: Offset of the last write; None before the first.
        self.last_offset: int | None = None

    async def write(self, data: memoryview, offset: int) -> None:
        """Write all of `data` at `offset`; raises DiskError. When it returns or raises, nothing uses `data` or the file
        any more, even after a cancellation."""
        self.last_offset = offset
        if not self._latency.is_low:
            await self._write_in_thread(data, offset)
            return
        begun = self._latency.clock()
        try:
            file_io.write_at(self._fd, data, offset)
        finally:
            self._latency.record(self._latency.clock() - begun)

    async def _write_in_thread(self, data: memoryview, offset: int) -> None:
        write = self._loop.run_in_executor(self._threads, file_io.write_at, self._fd, data, offset)
        try:
            await asyncio.shield(write)
        except asyncio.CancelledError:
            # The thread continues to write, and the descriptor's number may be another file's once it is closed: wait.
            while not write.done():
                with contextlib.suppress(asyncio.CancelledError):
                    await asyncio.wait([write])
            raise
