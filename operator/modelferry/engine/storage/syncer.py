"""Syncs many files at once: a journal writes what is asked of it at the same time in one go."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor, wait
from contextlib import contextmanager

from modelferry.errors import MachineError

#: Syncs at once. 640 new files of 4 kB on ext4, 16 at a time: one by one 2.5 ms a file, by 4 threads 0.2, by 8 no less.
_THREADS = 4


class Syncer:
    """Some threads, which begin with the first files that come together. Close it at the end."""

    def __init__(self) -> None:
        self._threads = ThreadPoolExecutor(_THREADS, "sync")

    def close(self) -> None:
        """End the threads."""
        self._threads.shutdown(wait=True)

    @contextmanager
    def syncing(
        self, fds: Sequence[int], by: Callable[[int], None]
    ) -> Iterator[Callable[[], list[MachineError | None]]]:
        """Have `by`, which raises MachineError, sync each of `fds`, none of them twice, while the block does something
        else; what it is given waits for the end, and returns each one's fault. The block ends when all syncs have."""

        def share(number: int) -> list[MachineError | None]:
            return [_fault(by, fd) for fd in fds[number::_THREADS]]

        def ended() -> list[MachineError | None]:
            faults: list[MachineError | None] = [None] * len(fds)
            for number, found in enumerate(shares):
                faults[number::_THREADS] = found.result()
            return faults

        shares = [self._threads.submit(share, number) for number in range(min(_THREADS, len(fds)))]
        try:
            yield ended
        finally:
            # No descriptor may be closed before: its number may be another file's soon after.
            wait(shares)

    def sync(self, fds: Sequence[int], by: Callable[[int], None]) -> list[MachineError | None]:
        """The same, with nothing else to do."""
        with self.syncing(fds, by) as ended:
            return ended()


def _fault(by: Callable[[int], None], fd: int) -> MachineError | None:
    try:
        by(fd)
    except MachineError as fault:
        return fault
    return None
