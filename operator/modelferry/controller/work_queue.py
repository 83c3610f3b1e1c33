"""Which artifact is reconciled next: one task for each, woken by events, by its requeue time, or after a failure."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Awaitable, Callable

Key = tuple[str, str]

_log = logging.getLogger(__name__)

#: Seconds after the first failed reconciliation, and at most: 1, 2, 4 … 60.
_BACKOFF_FIRST, _BACKOFF_MAX = 1.0, 60.0

#: Seconds between the reconciliations of an artifact that the API server refuses something: 1, 2, 4, 8. If more than 80
#: artifacts wait, they are longer, so that all together make at most ten reconciliations per second. Nothing tells when
#: a quota, a LimitRange or a policy lets them pass.
_REFUSED_MAX, _REFUSED_SPACING = 8.0, 0.1

#: Seconds between two reconciliations of one artifact, however many events arrive: a pod's start alone makes five. When
#: reconciliations take longer (many artifacts, a slow API server), so does the pause, and more events become one.
_MIN_INTERVAL, _MAX_INTERVAL = 0.2, 2.0

#: Concurrent reconciliations: each makes about ten calls to the API server.
_MAX_CONCURRENT = 16


class Refused(Exception):
    """Raised by a reconciliation of which the API server rejects an object (a quota, a policy)."""


class WorkQueue:
    """Runs ``reconcile(key)`` for every added key. It returns the seconds until it has to run again, or None if the
    object is gone. A key that is added while it runs is run once more afterwards: no event is lost, and no key runs
    twice at a time."""

    def __init__(self, reconcile: Callable[[Key], Awaitable[float | None]]) -> None:
        self._reconcile = reconcile
        self._wakes: dict[Key, asyncio.Event] = {}
        self._tasks: dict[Key, asyncio.Task[None]] = {}
        self._refused: set[Key] = set()
        self._slots = asyncio.Semaphore(_MAX_CONCURRENT)

    def add(self, key: Key) -> None:
        """Reconcile `key` soon."""
        if key not in self._tasks:
            self._wakes[key] = asyncio.Event()
            self._tasks[key] = asyncio.create_task(self._run(key, self._wakes[key]), name="/".join(key))
        self._wakes[key].set()

    def add_all(self) -> None:
        """Reconcile every known key soon."""
        for wake in self._wakes.values():
            wake.set()

    async def close(self) -> None:
        """Cancel all tasks."""
        tasks = list(self._tasks.values())
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)

    async def _run(self, key: Key, wake: asyncio.Event) -> None:
        failures, delay = 0, 0.0
        clock = asyncio.get_running_loop().time
        while True:
            await _wait(wake, delay)
            wake.clear()
            began = clock()
            self._refused.discard(key)
            try:
                async with self._slots:
                    requeue_after = await self._reconcile(key)
            except Exception as error:
                failures += 1
                requeue_after = self._retry_delay(key, error, failures)
                _log.warning("%s/%s: %s: %s; retry in %.0f s", *key, type(error).__name__, error, requeue_after)
            else:
                failures = 0
            if requeue_after is None and not wake.is_set():
                del self._tasks[key], self._wakes[key]
                return
            delay = requeue_after or 0.0
            await asyncio.sleep(min(_MAX_INTERVAL, max(_MIN_INTERVAL, clock() - began)))

    def _retry_delay(self, key: Key, error: Exception, failures: int) -> float:
        longest = _BACKOFF_MAX
        if isinstance(error, Refused):
            self._refused.add(key)
            longest = max(_REFUSED_MAX, _REFUSED_SPACING * len(self._refused))
        return min(longest, _BACKOFF_FIRST * 2.0 ** min(failures - 1, 10))


async def _wait(wake: asyncio.Event, seconds: float) -> None:
    """Wait until `wake` is set, at most `seconds`."""
    try:
        async with asyncio.timeout(seconds):
            await wake.wait()
    except TimeoutError:
        pass
