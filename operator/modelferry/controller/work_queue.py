"""Which artifact is looked at next: each by a task of its own, woken by hints, its own wish, or a failure."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Awaitable, Callable

Key = tuple[str, str]

_log = logging.getLogger(__name__)

#: Seconds after the first failed look, and at most: 1, 2, 4 … 60.
_FAILURE_FIRST, _FAILURE_MOST = 1.0, 60.0

#: Seconds between two looks at the same artifact, however many hints come in: a pod's start alone makes five.
_PAUSE = 0.2

#: Artifacts looked at at the same time: each look is about ten calls to the API server.
_AT_ONCE = 16


class WorkQueue:
    """Runs ``work(key)`` for every key that was added; it returns the seconds after which it wants to run again, or
    None where the object is gone. A key added while its work runs is run once more afterwards: no hint is lost, and
    none runs twice at a time."""

    def __init__(self, work: Callable[[Key], Awaitable[float | None]]) -> None:
        self._work = work
        self._wakes: dict[Key, asyncio.Event] = {}
        self._tasks: dict[Key, asyncio.Task[None]] = {}
        self._gate = asyncio.Semaphore(_AT_ONCE)

    def add(self, key: Key) -> None:
        """Have `key` looked at soon."""
        if key not in self._tasks:
            self._wakes[key] = asyncio.Event()
            self._tasks[key] = asyncio.create_task(self._run(key, self._wakes[key]), name="/".join(key))
        self._wakes[key].set()

    def add_all(self) -> None:
        """Have every known key looked at soon."""
        for wake in self._wakes.values():
            wake.set()

    async def close(self) -> None:
        """End all tasks."""
        tasks = list(self._tasks.values())
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)

    async def _run(self, key: Key, wake: asyncio.Event) -> None:
        failures, delay = 0, 0.0
        while True:
            await _either(wake, delay)
            wake.clear()
            try:
                async with self._gate:
                    again = await self._work(key)
            except Exception as error:
                failures += 1
                again = min(_FAILURE_MOST, _FAILURE_FIRST * 2 ** min(failures - 1, 10))
                _log.warning("%s/%s: %s: %s; looking again in %.0f s", *key, type(error).__name__, error, again)
            else:
                failures = 0
            if again is None and not wake.is_set():
                del self._tasks[key], self._wakes[key]
                return
            delay = again or 0.0
            await asyncio.sleep(_PAUSE)


async def _either(wake: asyncio.Event, seconds: float) -> None:
    """Wait until `wake` is set or `seconds` are over."""
    try:
        async with asyncio.timeout(seconds):
            await wake.wait()
    except TimeoutError:
        pass
