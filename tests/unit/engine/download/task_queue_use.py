"""A TaskQueue as the scheduler and the coordinator use it together."""

from __future__ import annotations

from collections.abc import Callable

from modelferry.engine.download.task_queue import TaskQueue
from modelferry.engine.download.tasks import FetchTask, RangeTask


def pop(
    queue: TaskQueue,
    now: float,
    may: Callable[[FetchTask], bool] = lambda task: True,
    *,
    small: bool = False,
    no_small: bool = False,
) -> RangeTask | None:
    """Take out the first candidate at `now` that `may` be fetched, of a queue of ranges."""
    queue.release(now)
    found = next(filter(may, queue.candidates(small=small, no_small=no_small)), None)
    if found is not None:
        assert isinstance(found, RangeTask)
        queue.remove(found)
    return found


def first(queue: TaskQueue, now: float) -> FetchTask | None:
    """The first one that may be fetched at `now`."""
    queue.release(now)
    return queue.first()
