"""Single streams beside their siblings: whose rest is shared, and which one is given up. Pure."""

from __future__ import annotations

from collections.abc import Callable, Hashable, Sequence
from dataclasses import dataclass
from statistics import median

from modelferry.engine.pacing.concurrency import ConcurrencyController
from modelferry.engine.pacing.parts import LEAST

#: Seconds that a stream's rate is taken over, its recent one, and how often it is sampled.
MEMORY, RECENT, SAMPLE = 5.0, 1.5, 0.5
#: Seconds after which a stream's rate says anything.
YOUNG = 1.0
#: A stream is slow below this share of the median of its siblings, of which there must be at least so many (itself
#: included). It is given up at most so often for one part: where each try is slow, it is not the connection's fault.
SLOW, SIBLINGS, DROPS = 0.25, 4, 3
#: Seconds that the rest of a stream must still take before others take half of it, and bytes of the least such half:
#: the donor's connection is closed when it comes to the cut, and what is on its way then is lost.
LONG, LEAST_CUT = 2.0, 256 << 10
#: The same on a weak line, where connections are many, and a few bytes take long: round trips, seconds, bytes.
WEAK_RTT, WEAK_LONG, WEAK_CUT = 4, 0.5, 32 << 10


@dataclass(frozen=True, slots=True)
class Meter:
    """A stream's rate over the last `MEMORY` seconds: samples of (time, bytes so far)."""

    samples: tuple[tuple[float, int], ...] = ()

    def sampled(self, now: float, count: int) -> Meter:
        """With `count` bytes at `now`. One for each `SAMPLE` of the clock is kept, so that streams that are looked at
        together are compared over the same seconds."""
        if self.samples and now // SAMPLE == self.samples[-1][0] // SAMPLE:
            return self
        kept = [sample for sample in self.samples[:-1] if now - sample[0] <= MEMORY] + list(self.samples[-1:])
        return Meter((*kept, (now, count)))

    @property
    def seconds(self) -> float:
        """How long it has been watched, up to about `MEMORY`."""
        return self.samples[-1][0] - self.samples[0][0] if self.samples else 0.0

    @property
    def rate(self) -> float:
        """Bytes per second; 0 while there is nothing to measure by."""
        return self._rate(self.samples[0]) if self.samples else 0.0

    @property
    def recent(self) -> float:
        """The same over the last `RECENT` seconds."""
        if not self.samples:
            return 0.0
        last = self.samples[-1][0]
        return self._rate(next((s for s in reversed(self.samples) if last - s[0] >= RECENT), self.samples[0]))

    def _rate(self, since: tuple[float, int]) -> float:
        then, count = since
        last, total = self.samples[-1]
        return (total - count) / (last - then) if last > then else 0.0


@dataclass(frozen=True, slots=True)
class Stream:
    """A request that is being answered, from ``at`` to ``end`` (file offsets), by server ``origin``.

    ``whole``: it may not be divided. ``drops``: how often this part was taken from a slow stream already.
    """

    key: Hashable
    origin: Hashable
    at: int
    end: int
    meter: Meter
    whole: bool = False
    drops: int = 0

    @property
    def left(self) -> int:
        """Bytes to come."""
        return self.end - self.at

    @property
    def eta(self) -> float:
        """Seconds until its end at its present rate."""
        return self.left / self.meter.rate if self.meter.rate else float("inf")


def find_slow(streams: Sequence[Stream], concurrency: ConcurrencyController, now: float) -> list[Stream]:
    """Streams to be given up, because others are so much faster."""
    usual = _usual(streams, concurrency, now)
    return [
        stream
        for stream in streams
        if stream.meter.seconds >= MEMORY - SAMPLE
        and stream.meter.rate < SLOW * usual(stream)
        and stream.drops < DROPS
        and stream.eta > LONG
    ]


def silent(streams: Sequence[Stream], concurrency: ConcurrencyController, now: float) -> list[Stream]:
    """Streams of which nothing comes any more, while others bring bytes: at the end, when connections are idle, they
    are not waited for as long as `find_slow` are."""
    usual = _usual(streams, concurrency, now)
    return [
        stream
        for stream in streams
        if stream.meter.seconds >= max(RECENT, 10 * concurrency.rtt)
        and not stream.meter.recent
        and usual(stream)
        and stream.drops < DROPS
    ]


def victim(streams: Sequence[Stream], concurrency: ConcurrencyController, now: float) -> Stream | None:
    """The stream whose rest an idle connection should share: the one that would end last; None where all end soon.

    Fair streams end at about the same time by the size of their parts, and sharing costs the bytes that are on their
    way; so it is for streams that are slow beside others, and for lines where even the smallest part takes long.
    """
    usual = _usual(streams, concurrency, now)
    weak = is_weak(concurrency)
    long, cut, young = LONG, LEAST_CUT, YOUNG
    if weak:
        long, cut, young = max(WEAK_LONG, WEAK_RTT * concurrency.rtt), WEAK_CUT, max(SAMPLE, 2 * concurrency.rtt)
    slow = [
        stream
        for stream in streams
        if not stream.whole
        and stream.left >= 2 * cut
        and stream.meter.seconds >= young
        and stream.eta > long
        and (weak or stream.meter.rate < SLOW * usual(stream))
    ]
    return max(slow, key=lambda stream: (stream.eta, stream.left), default=None)


def is_weak(concurrency: ConcurrencyController) -> bool:
    """Does even the smallest part take a stream long?"""
    return 0 < concurrency.stream_rate < LEAST / LONG


def _usual(streams: Sequence[Stream], concurrency: ConcurrencyController, now: float) -> Callable[[Stream], float]:
    """What to compare a stream's rate with: the median of its siblings at the same server; or, where those are too few
    or too young, that of streams that came to their end a moment ago; 0 where nothing is known."""
    lately = concurrency.stream_rate if now - concurrency.told < MEMORY else 0.0
    meters: dict[Hashable, list[Meter]] = {}
    for stream in streams:
        if stream.meter.seconds >= YOUNG:
            meters.setdefault(stream.origin, []).append(stream.meter)
    medians = {
        # The lesser of both: where the line stops as a whole, younger streams are not slow, but young.
        origin: min(median(meter.rate for meter in found), median(meter.recent for meter in found))
        for origin, found in meters.items()
        if len(found) >= SIBLINGS
    }
    return lambda stream: medians.get(stream.origin, lately)


def cut_of(stream: Stream, concurrency: ConcurrencyController) -> int:
    """The file offset where the donor ends and the other one begins: each gets half of what is left when the other one
    begins, a round trip from now."""
    coming = int(stream.meter.recent * concurrency.rtt)
    half = max((stream.left + coming) // 2, WEAK_CUT if is_weak(concurrency) else LEAST_CUT)
    return min(stream.at + half, stream.end - 1)
