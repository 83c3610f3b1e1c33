"""Retries of a source's requests: when, how often, and when the source is given up."""

from __future__ import annotations

import asyncio
import logging
import random
import time
from collections.abc import Awaitable, Callable
from itertools import count
from math import inf
from typing import TypeVar

from modelferry.errors import ConnectionFailed, ServerBusy, SourceError, SourceUnavailable, Stalled, Transient
from modelferry.http.backoff import backoff, believed_delay

log = logging.getLogger(__name__)

T = TypeVar("T")

#: Seconds between two attempts, at most, unless the server asks for more.
LONGEST_DELAY = 8.0
#: Seconds without any success that a server may ask to wait: three of a Hub's windows of five minutes.
_MAX_REQUESTED_DELAY = 900.0


class Retry:
    """Repeats requests to one source after transient errors, until `budget` seconds have passed without any success.

    The budget is shared: a source that is down is given up once, not once for each of its 2,000 files. A server that
    asks for a delay gets it, for 15 minutes at most.
    """

    def __init__(
        self,
        budget: float = 60.0,
        *,
        clock: Callable[[], float] = time.monotonic,
        sleep: Callable[[float], Awaitable[object]] = asyncio.sleep,
        chance: Callable[[], float] = random.random,
    ) -> None:
        self.budget, self._clock, self._sleep, self._chance = budget, clock, sleep, chance
        self._last_success = self._requested_until = clock()
        self._given_up = False

    async def run(self, attempt: Callable[[], Awaitable[T]]) -> T:
        """The result of `attempt`. Raises what it raises, except Transient: SourceUnavailable, or what it becomes."""
        for failures in count(1):
            if self._given_up and failures == 1:
                raise SourceUnavailable("not requested, because the source had been given up before")
            try:
                result = await attempt()
            except Transient as error:
                requested = error.retry_after if isinstance(error, ServerBusy) else None
                requested = None if requested is None else believed_delay(requested, failures)
                wait = max(backoff(failures, self._chance(), LONGEST_DELAY), requested or 0.0)
                if self._given_up or self._clock() + wait > self._until(requested):
                    self._given_up = True
                    raise _exhausted(error, failures) from error
                log.warning("%s; trying again in %.1f s", error.message, wait)
                await self._sleep(wait)
            except Stalled:
                # The source cannot be resolved any more: no other request is worth waiting for.
                self._last_success = -inf
                raise
            else:
                self._last_success = self._clock()
                return result
        raise AssertionError("count() does not end")

    def _until(self, requested: float | None) -> float:
        """The clock reading at which the source is given up, if it requests a delay of `requested` seconds."""
        if requested is not None:
            self._requested_until = max(self._requested_until, self._clock() + requested)
        delayed = min(self._requested_until, self._last_success + _MAX_REQUESTED_DELAY)
        return max(self._last_success, delayed) + self.budget


def _exhausted(error: Transient, attempts: int) -> SourceError:
    kind = error.persistent_error if isinstance(error, ConnectionFailed) else SourceUnavailable
    times = "once" if attempts == 1 else f"{attempts} times"
    return kind(
        f"{error.message}; tried {times}. Check the server and the route to it, then start again", file=error.file
    )
