"""How long to wait before a request is sent again. Pure: the random number is an argument."""

from __future__ import annotations

#: Seconds before the second attempt, doubled for each further one up to the limit, then jittered.
FIRST_DELAY, MAX_DELAY = 0.5, 30.0
#: Seconds from which on a Retry-After is absurd, and seconds of the first wait that it gets then.
ABSURD_DELAY, FIRST_ABSURD_DELAY = 300.0, 2.0


def backoff(failures: int, random: float, longest: float = MAX_DELAY) -> float:
    """Seconds to wait after `failures` failed attempts in a row, at most `longest`; `random` is in [0, 1).

    "Equal jitter": half of the delay is certain, so that a dead server gets few requests; the other half is random, so
    that a hundred nodes do not retry at the same time.
    """
    delay = min(FIRST_DELAY * 2.0 ** min(failures - 1, 16), longest)
    return delay * (0.5 + random / 2)


def believed_delay(requested: float, times: int) -> float:
    """Seconds to wait after a server asked `times` times in a row for `requested` seconds.

    An absurd delay (one node of many may ask for years) is not believed at once: the wait doubles, so that a server
    that is really busy for long is soon left alone, and one that is not is soon asked again.
    """
    if requested < ABSURD_DELAY:
        return requested
    return min(FIRST_ABSURD_DELAY * 2.0 ** min(times - 1, 16), ABSURD_DELAY)
