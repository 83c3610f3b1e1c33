"""Syncs many files concurrently: a journaling file system writes concurrent requests in one transaction."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor, wait
from contextlib import contextmanager

from modelferry.errors import MachineError

#: Concurrent syncs. For 640 new files of 4 kB on ext4, 16 at a time: 2.5 ms a file one after the other, 0.2 ms with 4
#: threads, no less with 8.
_THREADS = 4

#: One for each file: the error of its sync, or None.
SyncErrors = list[MachineError | None]


class Syncer:
    """A pool of threads, started when they are first needed. Close it at the end."""

    def __init__(self) -> None:
        self._threads = ThreadPoolExecutor(_THREADS, "sync")

    def close(self) -> None:
        """End the threads."""
        self._threads.shutdown(wait=True)

    @contextmanager
    def syncing(self, fds: Sequence[int], sync: Callable[[int], None]) -> Iterator[Callable[[], SyncErrors]]:
        """Call `sync`, which raises MachineError, once for each of `fds` while the block runs. The block gets a
        function that waits for all syncs and returns their errors. The block ends after all syncs."""

        def sync_share(number: int) -> SyncErrors:
            return [_sync_error(sync, fd) for fd in fds[number::_THREADS]]

        def result() -> SyncErrors:
            errors: SyncErrors = [None] * len(fds)
            for number, share in enumerate(shares):
                errors[number::_THREADS] = share.result()
            return errors

        shares = [self._threads.submit(sync_share, number) for number in range(min(_THREADS, len(fds)))]
        try:
            yield result
        finally:
            # The caller closes the descriptors afterwards, and their numbers may be other files' soon after.
            wait(shares)

    def sync(self, fds: Sequence[int], sync: Callable[[int], None]) -> SyncErrors:
        """Call `sync` once for each of `fds`, and return the errors."""
        with self.syncing(fds, sync) as result:
            return result()


def _sync_error(sync: Callable[[int], None], fd: int) -> MachineError | None:
    try:
        sync(fd)
    except MachineError as error:
        return error
    return None
