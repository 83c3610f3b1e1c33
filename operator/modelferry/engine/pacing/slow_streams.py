"""Compares the streams of one mirror: which to abort as slow, and which to share with an idle connection. Pure."""

from __future__ import annotations

from collections.abc import Callable, Hashable, Sequence
from dataclasses import dataclass
from statistics import median

from modelferry.engine.pacing.concurrency import ConcurrencyController
from modelferry.engine.pacing.parts import MIN_PART
from modelferry.values.rate_meter import RateMeter

#: Seconds over which a stream's rate and its recent rate are measured, and how often it is sampled.
RATE_WINDOW, RECENT_WINDOW, SAMPLE_INTERVAL = 5.0, 1.5, 0.5
#: Seconds after which a stream's rate is meaningful.
MIN_AGE = 1.0
#: A stream is slow if its rate is below this share of the median of the streams of its server, of which there must be
#: at least so many (itself included).
SLOW_SHARE, MIN_SIBLINGS = 0.25, 4
#: A part is taken from a slow stream at most so often: if every attempt is slow, the connection is not the cause.
MAX_DROPS = 3
#: Seconds that a stream must still need before others take half of its rest, and bytes of the smallest such half: the
#: donor's connection is closed when it reaches the cut, and what is in flight then is lost.
MIN_ETA, MIN_CUT = 2.0, 256 << 10
#: The same on a slow network path, which has many connections, and where a few bytes take long: round trips, seconds,
#: bytes.
SLOW_PATH_RTTS, SLOW_PATH_MIN_ETA, SLOW_PATH_MIN_CUT = 4, 0.5, 32 << 10


def stream_meter() -> RateMeter:
    """Measures one stream, or all streams of one mirror."""
    return RateMeter(RATE_WINDOW, SAMPLE_INTERVAL)


@dataclass(frozen=True, slots=True)
class Stream:
    """The body of one response that is being received, from ``position`` to ``end`` (file offsets), from server
    ``origin``.

    ``indivisible``: no other connection may take over part of it. ``drops``: how often this part was already taken
    from a slow stream.
    """

    key: Hashable
    origin: Hashable
    position: int
    end: int
    meter: RateMeter
    indivisible: bool = False
    drops: int = 0

    @property
    def remaining(self) -> int:
        """Bytes that have not arrived."""
        return self.end - self.position

    @property
    def eta(self) -> float:
        """Seconds until its end at its present rate."""
        return self.remaining / self.meter.rate if self.meter.rate else float("inf")


def find_slow(streams: Sequence[Stream], concurrency: ConcurrencyController, now: float) -> list[Stream]:
    """Streams to abort, because the others are much faster."""
    usual_rate = _usual_rate(streams, concurrency, now)
    return [
        stream
        for stream in streams
        if stream.meter.seconds >= RATE_WINDOW - SAMPLE_INTERVAL
        and stream.meter.rate < SLOW_SHARE * usual_rate(stream)
        and stream.drops < MAX_DROPS
        and stream.eta > MIN_ETA
    ]


def find_stalled(streams: Sequence[Stream], concurrency: ConcurrencyController, now: float) -> list[Stream]:
    """Streams that receive nothing any more, while others receive bytes: at the end, when connections are idle, they
    are aborted sooner than those of `find_slow`."""
    usual_rate = _usual_rate(streams, concurrency, now)
    return [
        stream
        for stream in streams
        if stream.meter.seconds >= max(RECENT_WINDOW, 10 * concurrency.rtt)
        and not stream.meter.recent_rate(RECENT_WINDOW)
        and usual_rate(stream)
        and stream.drops < MAX_DROPS
    ]


def find_steal_candidate(streams: Sequence[Stream], concurrency: ConcurrencyController, now: float) -> Stream | None:
    """The stream whose rest an idle connection should share: the one that would end last; None if all end soon.

    Streams at a normal rate end at about the same time because of the size of their parts, and stealing loses the
    bytes in flight; so it is for streams that are slow compared with others, and for network paths where even the
    smallest part takes long.
    """
    usual_rate = _usual_rate(streams, concurrency, now)
    slow_path = is_slow_path(concurrency)
    min_eta, min_cut, min_age = MIN_ETA, MIN_CUT, MIN_AGE
    if slow_path:
        min_eta, min_cut = max(SLOW_PATH_MIN_ETA, SLOW_PATH_RTTS * concurrency.rtt), SLOW_PATH_MIN_CUT
        min_age = max(SAMPLE_INTERVAL, 2 * concurrency.rtt)
    candidates = [
        stream
        for stream in streams
        if not stream.indivisible
        and stream.remaining >= 2 * min_cut
        and stream.meter.seconds >= min_age
        and stream.eta > min_eta
        and (slow_path or stream.meter.rate < SLOW_SHARE * usual_rate(stream))
    ]
    return max(candidates, key=lambda stream: (stream.eta, stream.remaining), default=None)


def is_slow_path(concurrency: ConcurrencyController) -> bool:
    """Does even the smallest part take a stream long?"""
    return 0 < concurrency.stream_rate < MIN_PART / MIN_ETA


def _usual_rate(streams: Sequence[Stream], concurrency: ConcurrencyController, now: float) -> Callable[[Stream], float]:
    """What to compare a stream's rate with: the median of the streams of the same server; if those are too few or too
    young, the rate of streams that ended a moment ago; 0 if nothing is known."""
    ended_recently = now - concurrency.stream_rate_at < RATE_WINDOW
    recently = concurrency.stream_rate if ended_recently else 0.0
    meters: dict[Hashable, list[RateMeter]] = {}
    for stream in streams:
        if stream.meter.seconds >= MIN_AGE:
            meters.setdefault(stream.origin, []).append(stream.meter)
    medians = {
        # The lower of both: if the network path stops for all streams, the younger ones are not slow, but young.
        origin: min(median(one.rate for one in found), median(one.recent_rate(RECENT_WINDOW) for one in found))
        for origin, found in meters.items()
        if len(found) >= MIN_SIBLINGS
    }
    return lambda stream: medians.get(stream.origin, recently)


def steal_offset(stream: Stream, concurrency: ConcurrencyController) -> int:
    """The file offset where the donor ends and the other stream begins: each gets half of what remains when the other
    one begins, a round trip from now."""
    in_flight = int(stream.meter.recent_rate(RECENT_WINDOW) * concurrency.rtt)
    min_cut = SLOW_PATH_MIN_CUT if is_slow_path(concurrency) else MIN_CUT
    half = max((stream.remaining + in_flight) // 2, min_cut)
    return min(stream.position + half, stream.end - 1)
