"""Which of the mirrors that could take the next part gets it. Pure.

Those of the lowest priority share the work: chunks of one file are fetched from several at once, and the file's digest
decides whether they fit together. Each has its own `ConcurrencyController`, which finds out how many streams improve
its throughput; within that, connections go to where a stream carries the most.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass

#: Streams that each mirror of the group gets before others get more: with fewer nothing is known of it.
MIN_STREAMS = 2
#: Seconds that a chunk may take beyond the end of everything else.
TOLERATED_DELAY = 1.0


@dataclass(frozen=True, slots=True)
class Candidate:
    """A mirror that may get a request. ``stream_rate``: bytes per second of one stream, ``rate`` of all; 0 while
    unknown. ``running`` streams of ``allowed``, of which ``base`` are known to improve throughput; more are a trial.
    ``due``: bytes of the chunks that it has begun and not delivered yet."""

    name: str
    priority: int
    weight: int = 1
    stream_rate: float = 0.0
    rate: float = 0.0
    running: int = 0
    allowed: int = 1
    base: int = 0
    due: int = 0


def preferred_group(candidates: Iterable[Candidate]) -> list[Candidate]:
    """Those of the lowest priority."""
    found = list(candidates)
    lowest = min((one.priority for one in found), default=0)
    return [one for one in found if one.priority == lowest]


def best_candidate(candidates: Iterable[Candidate]) -> Candidate | None:
    """The one that gets the next stream; None if all of the group have as many as they may."""
    found = preferred_group(candidates)
    free = [one for one in found if one.running < one.allowed]
    if barely_used := [one for one in free if one.running < MIN_STREAMS]:
        return min(barely_used, key=lambda one: one.running / one.weight)
    free = [one for one in free if one.running < one.base] or free
    if any(not one.stream_rate for one in free):
        return min(free, key=lambda one: one.running / one.weight)
    return max(free, key=lambda one: one.stream_rate * one.weight, default=None)


def is_over_share(name: str, candidates: Iterable[Candidate], connections: int) -> bool:
    """Has `name` its equal share of all `connections` of the group, and would another get the next one?"""
    found = preferred_group(candidates)
    mine = next((one for one in found if one.name == name), None)
    if mine is None or mine.running * len(found) < connections:
        return False
    return best_candidate(found) not in (mine, None)


def would_finish_late(one: Candidate, others: Sequence[Candidate], size: int, waiting: int) -> bool:
    """Would `one` deliver a chunk of `size` bytes, after what it has begun, only after `others` have delivered all that
    is waiting? Parts of one chunk are from one mirror, so the download would wait for a slow one that begins a chunk at
    the end."""
    together = sum(other.rate for other in others)
    if not one.rate or not together:
        return False
    others_end = (waiting + sum(other.due for other in others)) / together
    return (one.due + size) / one.rate > others_end + TOLERATED_DELAY


def is_faster_elsewhere(left: int, rate: float, size: int, other_rate: float) -> bool:
    """Should a chunk of `size` bytes, of which a mirror at `rate` has `left` to deliver, be fetched again from another
    one that has no other work, and delivers `other_rate` bytes per second?"""
    return other_rate > 0 and left > rate * (2 * size / other_rate + 2 * TOLERATED_DELAY)
