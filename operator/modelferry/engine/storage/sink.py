"""The fetching side's way to the disk.

A write into the page cache is a copy of a tenth of a millisecond, which the event loop makes itself: to hand it to a
thread costs as much again. A disk that cannot keep up makes the writer wait, though (the kernel holds back who dirties
more than it can write), so after a slow write the next ones go to threads for a while, and the loop lives on.
"""

from __future__ import annotations

import asyncio
import contextlib
import os
import time
from collections.abc import AsyncIterator, Callable
from concurrent.futures import ThreadPoolExecutor

from modelferry.engine.storage import files, layout
from modelferry.engine.storage.tree import Tree

#: Writers at once, while the disk is slow.
_THREADS = 4
#: Seconds of a write that was no mere copy: a hundred times what one takes.
SLOW = 0.02
#: Seconds for which the loop does not write itself after a slow write, and after several in a row: so it is held for a
#: fiftieth of the time at most, at the 0.2 s for which Linux holds a writer back.
REST, LONGEST_REST = 1.0, 30.0


class DiskLatency:
    """May the event loop write to the disk itself? Decided by how long its writes took."""

    def __init__(self, clock: Callable[[], float]) -> None:
        """`clock` gives seconds."""
        self.clock = clock
        self._rest = REST
        self._until = 0.0

    @property
    def quick(self) -> bool:
        """It may."""
        return self.clock() >= self._until

    def took(self, seconds: float) -> None:
        """A write of its own took `seconds`."""
        if seconds < SLOW:
            self._rest = REST
            return
        self._until = self.clock() + self._rest
        self._rest = min(2 * self._rest, LONGEST_REST)


class Disk:
    """The incoming files of one revision."""

    def __init__(self, root: str, revision: str, clock: Callable[[], float] = time.monotonic) -> None:
        """`clock` gives seconds. Raises DiskError where `root` cannot be opened."""
        try:
            self._tree = Tree(root)
        except OSError as error:
            raise files.disk_error(f"opening {root}", error) from error
        self._revision = revision
        self._threads = ThreadPoolExecutor(_THREADS, "write")
        self._tempo = DiskLatency(clock)
        self._sinks: dict[Sink, str] = {}

    def close(self) -> None:
        """Let go of the directory."""
        self._threads.shutdown(wait=True)
        self._tree.close()

    @contextlib.asynccontextmanager
    async def open(self, path: str) -> AsyncIterator[Sink]:
        """A file to write to, for as long as the block runs. Raises DiskError where it is not there."""
        loop = asyncio.get_running_loop()
        try:
            # Not in a thread: a name that was just made is in the kernel's cache.
            fd = self._tree.open(layout.incoming(self._revision, path), os.O_WRONLY)
        except OSError as error:
            raise files.disk_error(f"opening {path}", error) from error
        sink = Sink(fd, loop, self._threads, self._tempo)
        self._sinks[sink] = path
        try:
            yield sink
        finally:
            del self._sinks[sink]
            os.close(fd)

    def active(self) -> tuple[tuple[str, int], ...]:
        """(path, offset) of what is being written to, where it was last written."""
        return tuple((path, sink.at) for sink, path in self._sinks.items() if sink.at is not None)


class Sink:
    """One incoming file, open for writing. ``inode`` names what is written to, whatever its path becomes."""

    def __init__(
        self, fd: int, loop: asyncio.AbstractEventLoop, threads: ThreadPoolExecutor, tempo: DiskLatency
    ) -> None:
        self._fd = fd
        self._tempo = tempo
        self._loop = loop
        self._threads = threads
        self.inode = os.fstat(fd).st_ino
        #: Offset of the last write; None before the first.
        self.at: int | None = None

    async def write(self, data: memoryview, offset: int) -> None:
        """Write all of `data` at `offset`; raises DiskError. When it returns or raises, `data` and file are let go
        of."""
        self.at = offset
        if not self._tempo.quick:
            await self._write_aside(data, offset)
            return
        began = self._tempo.clock()
        try:
            files.write_at(self._fd, data, offset)
        finally:
            self._tempo.took(self._tempo.clock() - began)

    async def _write_aside(self, data: memoryview, offset: int) -> None:
        work = self._loop.run_in_executor(self._threads, files.write_at, self._fd, data, offset)
        try:
            await asyncio.shield(work)
        except asyncio.CancelledError:
            # The thread writes on, and the descriptor's number may be another file's once it is closed: wait.
            while not work.done():
                with contextlib.suppress(asyncio.CancelledError):
                    await asyncio.wait([work])
            raise
