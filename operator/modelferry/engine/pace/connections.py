"""The number of connections, which follows what the line pays for. Pure.

The first number follows from the round trip: a long way needs many streams, whatever it carries, and finding that out
by doubling takes seconds. From there it is a search by trials: with the rate of the present number known, more are
tried, and kept if they paid. At first the number doubles, since a line may carry 2 or 100 streams; after two trials in
a row that did not pay it grows by a quarter at a time, with longer and longer rests between trials that fail. A busy
answer (429, 503) takes the last step back, or halves; after one, the number never doubles again.

Why at all: on a long line with losses the sender's congestion control bounds each stream (Mathis et al. 1997: MSS / RTT
* 1.22 / sqrt(loss)), and on others the server does; the client's one lever is how many streams there are.
"""

from __future__ import annotations

from dataclasses import dataclass, replace

#: Connections at the start: few enough for any server, and at most 4 doublings from the most that are allowed (128).
START = 8
#: Where the round trip is long, for each second of it, what fills 100 Mbit/s where one packet of 400 is lost: 12 MB/s
#: divided by the 1448 * 1.22 * 20 bytes that one stream then brings in a round trip; and the most, a doubling from 128.
START_BY_RTT, MOST_AT_START = 340, 64
#: Connections that need a reason: what one brings is told with more care.
MANY = 16
#: What a trial multiplies the number by, at first and later; and how much faster the line must be for it to be kept. A
#: line that is full gets no faster at all; one that is not gets nearly as much faster as the number grew.
DOUBLE, GENTLE = 2.0, 1.25
PAID = {DOUBLE: 1.1, GENTLE: 1.03}
#: A quarter more connections that make the line so much faster are nearly all worth it: doubling begins again.
PAID_WELL = 1.15
#: Bytes of the least answer that tells a stream's rate: a smaller one tells the round trip.
LEAST_TOLD = 256 << 10
#: Seconds of rest after a trial that failed: at first, at first where a server was busy, and at most after doublings.
REST, BUSY_REST, MOST_REST = 2.0, 5.0, 60.0


@dataclass(frozen=True, slots=True)
class Pace:
    """``allowed`` connections of at most ``most``.

    ``base`` is the number that ``base_rate`` (bytes per second) was measured with: a trial runs while it is not
    ``allowed``. ``since``: when the present window began; ``mark``: (time, bytes) from which it measures, None while
    new streams find their speed. ``rtt``: the shortest wait for a response head, in seconds. ``stream_rate``: bytes per
    second of one stream, of late, and ``told``, when that was; 0 while unknown. ``deaf``: until when busy answers tell
    nothing new.
    """

    most: int
    allowed: int
    base: int
    base_rate: float = 0.0
    factor: float = DOUBLE
    rest: float = REST
    resting: float = 0.0
    since: float | None = None
    mark: tuple[float, int] | None = None
    rtt: float = 0.0
    stream_rate: float = 0.0
    told: float = 0.0
    deaf: float = 0.0

    @classmethod
    def start(cls, most: int) -> Pace:
        """Before anything is known of the line."""
        return cls(most, min(START, most), min(START, most))

    def met(self, rtt: float) -> Pace:
        """After a connection was made and its round trip seen, in seconds. The first one sets the number to begin
        with."""
        if self.rtt:
            return replace(self, rtt=min(self.rtt, rtt))
        begin = min(self.most, max(START, min(int(START_BY_RTT * rtt), MOST_AT_START)))
        return replace(self, rtt=rtt, allowed=begin, base=begin)

    def answered(self, seconds: float) -> Pace:
        """After a response head came `seconds` after its request, the time to connect not included."""
        return replace(self, rtt=min(seconds, self.rtt or seconds))

    def brought(self, now: float, size: int, seconds: float) -> Pace:
        """After one stream brought `size` bytes in `seconds` until `now`, the wait for the head included.

        An answer that took less than a second tells only that the stream brings at least as much in a second: many
        servers that limit a stream's rate let its first second's bytes pass at once.
        """
        if size < LEAST_TOLD:
            return self
        if seconds < 1.0:
            return replace(self, stream_rate=max(self.stream_rate, float(size)), told=now)
        rate = size / seconds
        return replace(self, stream_rate=self.stream_rate * 0.75 + rate * 0.25 if self.stream_rate else rate, told=now)

    def busy(self, now: float) -> Pace:
        """After the server said that it has too much to do. What it says at once to several streams counts once."""
        if now < self.deaf:
            return self
        # Before anything was measured, the round trip alone spoke for more than START.
        known = self.allowed if self.base_rate or self.deaf else min(self.allowed, START)
        fewer = self.base if self.base < self.allowed else max(1, known // 2)
        rested = replace(self, rest=max(self.rest, BUSY_REST))
        return replace(rested._failed(now, fewer), base_rate=0.0, deaf=now + max(1.0, 2 * self.rtt))

    def observe(self, now: float, received: int, full: bool) -> Pace:
        """To be called several times a second. `received`: bytes so far; `full`: all allowed connections are at work;
        where they are not, their rate says nothing of the line."""
        if not full or self.most == 1:
            return replace(self, since=None, mark=None) if self.since is not None else self
        if self.since is None:
            return replace(self, since=now, mark=None)
        if self.mark is None:
            settled = now - self.since >= min(max(4 * self.rtt, 0.25), 3.0)
            return replace(self, mark=(now, received)) if settled else self
        then, before = self.mark
        if now - then < self._window:
            return self
        return self._judge(now, (received - before) / (now - then))

    @property
    def _window(self) -> float:
        """Seconds over which a rate is taken: several round trips, and longer where there is more to be lost by an
        error, or where a smaller difference counts."""
        window = min(max(4 * self.rtt, 0.25 if self.allowed < MANY else 0.75), 2.0)
        return window if self.factor == DOUBLE else 4 * window

    def _judge(self, now: float, rate: float) -> Pace:
        trial = self.allowed != self.base
        if trial and rate < self.base_rate * PAID[self.factor]:
            # The first time it may be that the streams before were still in slow start, beyond what losses permit.
            return self._failed(now, self.base, DOUBLE if self.rest == REST else GENTLE)
        well = trial and not self.deaf and rate >= self.base_rate * PAID_WELL
        known = replace(self, base=self.allowed, base_rate=rate, rest=REST if trial else self.rest)
        known = replace(known, factor=DOUBLE if well else self.factor)
        if now < self.resting or self.allowed == self.most:
            return replace(known, since=now, mark=None)
        more = min(self.most, max(self.allowed + 1, int(self.allowed * known.factor)))
        return replace(known, allowed=more, since=now, mark=None)

    def _failed(self, now: float, allowed: int, factor: float = GENTLE) -> Pace:
        """Back to `allowed`, and a rest before the next trial."""
        return replace(
            self,
            allowed=allowed,
            base=allowed,
            factor=factor,
            resting=now + self.rest,
            rest=min(2 * self.rest, MOST_REST),
            since=None,
            mark=None,
        )
