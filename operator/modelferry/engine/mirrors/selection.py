"""Which of the mirrors that are well gets the next part. Pure.

Those of the lowest priority share the work: chunks of one file come from several at once, and the whole digest decides
what they are worth. Each has its own `Pace`, which finds out how many streams its way pays for; within that,
connections go to where a stream brings the most.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass

#: Streams that each mirror of the group gets before others get more: with fewer nothing is known of it.
FLOOR = 2
#: Seconds that a chunk may take beyond everything else's end.
LATE = 1.0


@dataclass(frozen=True, slots=True)
class Candidate:
    """A mirror that may be asked. ``stream_rate``: bytes per second of one stream, ``speed`` of all; 0 while unknown.
    ``running`` streams of ``allowed``, of which ``base`` are known to pay; more are a trial. ``due``: bytes of the
    chunks that it has begun and not brought yet."""

    name: str
    priority: int
    weight: int = 1
    stream_rate: float = 0.0
    speed: float = 0.0
    running: int = 0
    allowed: int = 1
    base: int = 0
    due: int = 0


def group(candidates: Iterable[Candidate]) -> list[Candidate]:
    """Those of the lowest priority."""
    found = list(candidates)
    lowest = min((one.priority for one in found), default=0)
    return [one for one in found if one.priority == lowest]


def best(candidates: Iterable[Candidate]) -> Candidate | None:
    """The one that the next stream goes to; None where all of the group have as many as they may."""
    found = group(candidates)
    free = [one for one in found if one.running < one.allowed]
    if hungry := [one for one in free if one.running < FLOOR]:
        return min(hungry, key=lambda one: one.running / one.weight)
    free = [one for one in free if one.running < one.base] or free
    if any(not one.stream_rate for one in free):
        return min(free, key=lambda one: one.running / one.weight)
    return max(free, key=lambda one: one.stream_rate * one.weight, default=None)


def outdone(name: str, candidates: Iterable[Candidate], connections: int) -> bool:
    """Has `name` its equal share of all `connections` of the group, and would the next one rather go to another?"""
    found = group(candidates)
    mine = next((one for one in found if one.name == name), None)
    if mine is None or mine.running * len(found) < connections:
        return False
    return best(found) not in (mine, None)


def worthwhile(one: Candidate, others: Sequence[Candidate], size: int, waiting: int) -> bool:
    """Would `one` bring a chunk of `size` bytes, after what it has begun, before `others` have brought all that is
    waiting? Parts of one chunk come from one mirror, so a slow one that begins a chunk at the end would be waited
    for."""
    together = sum(other.speed for other in others)
    if not one.speed or not together:
        return True
    return (one.due + size) / one.speed <= (waiting + sum(other.due for other in others)) / together + LATE


def too_slow(left: int, speed: float, size: int, others: float) -> bool:
    """Should a chunk of `size` bytes, of which a mirror at `speed` has `left` to bring, be fetched whole from another
    one that has nothing else to do, and brings `others` bytes per second?"""
    return others > 0 and left > speed * (2 * size / others + 2 * LATE)
