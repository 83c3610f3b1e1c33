"""The fetching side's way to the disk: writes in threads, so that a slow disk never holds the event loop."""

from __future__ import annotations

import asyncio
import contextlib
import os
from collections.abc import AsyncIterator
from concurrent.futures import ThreadPoolExecutor

from modelferry.engine.storage import files, layout
from modelferry.engine.storage.tree import Tree

#: Writers at once: a write into the page cache is a copy, and more threads than cores only wait for each other.
_THREADS = 4


class Disk:
    """The incoming files of one revision."""

    def __init__(self, root: str, revision: str) -> None:
        """Raises DiskFault where `root` cannot be opened."""
        try:
            self._tree = Tree(root)
        except OSError as error:
            raise files.disk_fault(f"opening {root}", error) from error
        self._revision = revision
        self._threads = ThreadPoolExecutor(_THREADS, "write")
        self._sinks: dict[Sink, str] = {}

    def close(self) -> None:
        """Let go of the directory."""
        self._threads.shutdown(wait=True)
        self._tree.close()

    @contextlib.asynccontextmanager
    async def open(self, path: str) -> AsyncIterator[Sink]:
        """A file to write to, for as long as the block runs. Raises DiskFault where it is not there."""
        loop = asyncio.get_running_loop()
        try:
            # Not in a thread: a name that was just made is in the kernel's cache.
            fd = self._tree.open(layout.incoming(self._revision, path), os.O_WRONLY)
        except OSError as error:
            raise files.disk_fault(f"opening {path}", error) from error
        sink = Sink(fd, loop, self._threads)
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

    def __init__(self, fd: int, loop: asyncio.AbstractEventLoop, threads: ThreadPoolExecutor) -> None:
        self._fd = fd
        self._loop = loop
        self._threads = threads
        self.inode = os.fstat(fd).st_ino
        #: Offset of the last write; None before the first.
        self.at: int | None = None

    async def write(self, data: memoryview, offset: int) -> None:
        """Write all of `data` at `offset`; raises DiskFault. When it returns or raises, `data` and file are let go
        of."""
        self.at = offset
        work = self._loop.run_in_executor(self._threads, files.write_at, self._fd, data, offset)
        try:
            await asyncio.shield(work)
        except asyncio.CancelledError:
            # The thread writes on, and the descriptor's number may be another file's once it is closed: wait.
            while not work.done():
                with contextlib.suppress(asyncio.CancelledError):
                    await asyncio.wait([work])
            raise
