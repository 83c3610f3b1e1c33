"""The number of connections, which follows what the line pays for. Pure.

The first number follows from the round trip: a long way needs many streams, whatever it carries, and finding that out
by doubling takes seconds. From there it is a search by trials: with the rate of the present number known, more are
tried, and kept if they paid. At first the number doubles, since a line may carry 2 or 100 streams, and where that
nearly doubles the rate as well the next doubling follows at once; after two trials in a row that did not pay it grows
by a quarter at a time, with longer and longer rests between trials that fail. When they are at their longest, fewer are
tried as well, and kept while they bring as much. Where the line by itself becomes much slower or faster, what was
learnt of it is void: more are tried at once, and then fewer. A busy answer (429, 503) takes the last step back, or
halves; after one, the number never doubles again.

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
#: Of what the number grew by, the rate did: then each stream has a bound of its own, and more are tried without much
#: waiting. And how much of the rate fewer connections must bring to be kept.
STEEP, STILL = 0.85, 0.97
#: A rate that is twice in a row so many times what it was, or as small a part of it, with the same number of
#: connections: it is another line. Once may be a disk that is waited for.
ANOTHER = 1.5
#: Bytes of the least answer that tells a stream's rate: a smaller one tells the round trip.
LEAST_TOLD = 256 << 10
#: Seconds of rest after a trial that failed: at first, at first where a server was busy, and at most after doublings.
REST, BUSY_REST, MOST_REST = 2.0, 5.0, 60.0


@dataclass(frozen=True, slots=True)
class ConcurrencyController:
    """``allowed`` connections of at most ``most``.

    ``base`` is the number that ``base_rate`` (bytes per second) was measured with: a trial runs while it is not
    ``allowed``. ``steep``: the last trial brought nearly what it added; ``fewer``: the next one is of fewer; ``odd``:
    the last window fits ill to those before; ``changed``: it is another line than the one that was searched.
    ``since``: when the present window began; ``mark``: (time, bytes) from which it measures, None while new streams
    find their speed. ``rtt``: the shortest wait for a response head, in seconds. ``stream_rate``: bytes per second of
    one stream, of late, and ``told``, when that was; 0 while unknown. ``deaf``: until when busy answers tell nothing
    new. ``sharers``: how many lines share ``most`` at the start.
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
    sharers: int = 1
    steep: bool = False
    fewer: bool = False
    odd: bool = False
    changed: bool = False

    @classmethod
    def start(cls, most: int, sharers: int = 1) -> ConcurrencyController:
        """Before anything is known of the line; `most` is shared with other lines, `sharers` in all."""
        first = max(1, min(START, most // sharers))
        return cls(most, first, first, sharers=sharers)

    def met(self, rtt: float) -> ConcurrencyController:
        """After a connection was made and its round trip seen, in seconds. The first one sets the number to begin
        with."""
        if self.rtt:
            return replace(self, rtt=min(self.rtt, rtt))
        share = max(1, self.most // self.sharers)
        begin = min(share, max(START, min(int(START_BY_RTT * rtt), MOST_AT_START)))
        return replace(self, rtt=rtt, allowed=begin, base=begin)

    def answered(self, seconds: float) -> ConcurrencyController:
        """After a response head came `seconds` after its request, the time to connect not included."""
        return replace(self, rtt=min(seconds, self.rtt or seconds))

    def brought(self, now: float, size: int, seconds: float) -> ConcurrencyController:
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

    def busy(self, now: float) -> ConcurrencyController:
        """After the server said that it has too much to do. What it says at once to several streams counts once."""
        if now < self.deaf:
            return self
        # Before anything was measured, the round trip alone spoke for more than START.
        known = self.allowed if self.base_rate or self.deaf else min(self.allowed, START)
        fewer = self.base if self.base < self.allowed else max(1, known // 2)
        rested = replace(self, rest=max(self.rest, BUSY_REST))
        return replace(rested._failed(now, fewer), base_rate=0.0, deaf=now + max(1.0, 2 * self.rtt))

    def observe(self, now: float, received: int, full: bool) -> ConcurrencyController:
        """To be called several times a second, and when it is `due`. `received`: bytes so far; `full`: all allowed
        connections are at work, and no more; where they are not, their rate says nothing of the line."""
        if not full or self.most == 1:
            return replace(self, since=None, mark=None) if self.since is not None else self
        if self.since is None:
            return replace(self, since=now, mark=None)
        if self.mark is None:
            return replace(self, mark=(now, received)) if now - self.since >= self._settling else self
        then, before = self.mark
        if now < self._end_of_window(then):
            return self
        judged = self._judge(now, (received - before) / (now - then))
        # Streams that nothing was changed for need not find their speed again.
        return replace(judged, mark=(now, received)) if judged.allowed == self.allowed else judged

    @property
    def due(self) -> float | None:
        """The clock reading at which `observe` sees the next thing; None while nothing is measured."""
        if self.since is None:
            return None
        return self.since + self._settling if self.mark is None else self._end_of_window(self.mark[0])

    @property
    def _settling(self) -> float:
        """Seconds for which new streams find their speed."""
        return max(2 * self.rtt, 0.1) if self.steep else min(max(4 * self.rtt, 0.25), 3.0)

    @property
    def _window(self) -> float:
        """Seconds over which a rate is taken: several round trips, and longer where there is more to be lost by an
        error, or where a smaller difference counts."""
        window = min(max(4 * self.rtt, 0.25 if self.base < MANY or self.steep else 0.75), 2.0)
        return window if self.factor == DOUBLE else 4 * window

    def _end_of_window(self, begin: float) -> float:
        """As soon as it is long enough; with a rest that ends before the next one would, so that a trial follows."""
        end = begin + self._window
        return self.resting if end < self.resting < end + self._window else end

    def _judge(self, now: float, rate: float) -> ConcurrencyController:
        grown, gain = self.allowed / self.base, rate / self.base_rate if self.base_rate else 1.0
        if grown > 1.0 and gain < PAID[self.factor]:
            # The first time it may be that the streams before were still in slow start, beyond what losses permit.
            factor = DOUBLE if self.rest == REST else GENTLE
            return self._failed(now, self.base, factor, fewer=self.changed or self.rest == MOST_REST)
        if grown < 1.0 and gain < STILL:
            return self._failed(now, self.base)
        odd = grown == 1.0 and not 1 / ANOTHER < gain < ANOTHER
        if odd and not self.odd:
            return replace(self, odd=True)
        known = replace(self, base=self.allowed, base_rate=rate, odd=False)
        if grown > 1.0:
            factor = DOUBLE if gain >= PAID_WELL and not self.deaf else self.factor
            steep = self.factor == DOUBLE and gain >= STEEP * grown
            known = replace(known, rest=REST, factor=factor, steep=steep, changed=False)
        elif odd:
            rest, factor = (BUSY_REST, GENTLE) if self.deaf else (REST, DOUBLE)
            known = replace(known, rest=rest, factor=factor, resting=now, steep=False, fewer=False, changed=True)
        return known._tried(now)

    def _tried(self, now: float) -> ConcurrencyController:
        """The next trial, where it is time for one."""
        waiting = replace(self, since=now, mark=None)
        if now < self.resting:
            return waiting
        if self.fewer:
            less = int(self.allowed / GENTLE)
            if less < START:
                return replace(waiting, fewer=False, changed=False)
            return replace(waiting, allowed=less, factor=GENTLE, steep=False)
        if self.allowed == self.most:
            # There is nothing to be tried but fewer: at once on another line, and now and then on the same.
            return replace(waiting, fewer=True, resting=now if self.changed else now + MOST_REST)
        return replace(waiting, allowed=min(self.most, max(self.allowed + 1, int(self.allowed * self.factor))))

    def _failed(
        self, now: float, allowed: int, factor: float = GENTLE, *, fewer: bool = False
    ) -> ConcurrencyController:
        """Back to `allowed`, and a rest before the next trial, which may be of `fewer`."""
        return replace(
            self,
            allowed=allowed,
            base=allowed,
            factor=factor,
            resting=now + self.rest,
            rest=min(2 * self.rest, MOST_REST),
            steep=False,
            odd=False,
            fewer=fewer,
            changed=self.changed and fewer,
            since=None,
            mark=None,
        )
