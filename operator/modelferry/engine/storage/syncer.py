"""Syncs many files at once: a journal writes what is asked of it at the same time in one go."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor

from modelferry.errors import MachineFault

#: Syncs at once. 640 new files of 4 kB on ext4, 16 at a time: one by one 2.5 ms a file, by 4 threads 0.2, by 8 no less.
_THREADS = 4


class Syncer:
    """Some threads, which begin with the first files that come together. Close it at the end."""

    def __init__(self) -> None:
        self._threads = ThreadPoolExecutor(_THREADS, "sync")

    def close(self) -> None:
        """End the threads."""
        self._threads.shutdown(wait=True)

    def sync(self, fds: Sequence[int], by: Callable[[int], None]) -> list[MachineFault | None]:
        """Have `by`, which raises MachineFault, sync each of `fds`, none of them twice. Returns each one's fault."""

        def share(number: int) -> list[MachineFault | None]:
            return [_fault(by, fd) for fd in fds[number::_THREADS]]

        if len(fds) < 2:
            return share(0)
        faults: list[MachineFault | None] = [None] * len(fds)
        for number, found in enumerate(self._threads.map(share, range(_THREADS))):
            faults[number::_THREADS] = found
        return faults


def _fault(by: Callable[[int], None], fd: int) -> MachineFault | None:
    try:
        by(fd)
    except MachineFault as fault:
        return fault
    return None
