"""The number of connections, which follows the measured throughput. Pure.

The first number follows from the round trip time: a long path needs many streams, whatever it carries, and finding that
out by doubling takes seconds. From there it is a search by trials: with the rate of the present number known, more are
tried, and kept if they improve throughput. At first the number doubles, since a path may carry 2 or 100 streams, and if
that nearly doubles the rate as well, the next doubling follows at once. After two trials in a row that failed, the
number grows by a quarter at a time, with longer and longer rests between trials that fail. When the rests are at their
longest, fewer are tried as well, and kept while they carry as much. If the path by itself becomes much slower or
faster, what was measured is void: more are tried at once, and then fewer. A busy response (429, 503) reverts the last
step, or halves the number; after one, the number never doubles again.

Why at all: on a long path with losses the sender's congestion control limits each stream (Mathis et al. 1997: MSS / RTT
* 1.22 / sqrt(loss)), and on others the server does; the client can only choose how many streams there are.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from enum import Enum

#: Connections at the start: few enough for any server, and at most 4 doublings from the most that are allowed (128).
INITIAL = 8
#: With a long round trip, for each second of it, what fills 100 Mbit/s if one packet of 400 is lost: 12 MB/s divided by
#: the 1448 * 1.22 * 20 bytes that one stream then carries in a round trip; and the most, half of 128.
INITIAL_PER_RTT, MAX_INITIAL = 340, 64
#: From so many connections on, a rate is measured for longer: more of them need a reason.
MANY = 16
#: How much faster the path must be for a doubling, and for a quarter more, to be kept. A full path gets no faster at
#: all; one that is not gets nearly as much faster as the number grew.
DOUBLE, QUARTER_MORE = 2.0, 1.25
REQUIRED_GAIN = {DOUBLE: 1.1, QUARTER_MORE: 1.03}
#: A quarter more connections with such a gain are nearly all worth it: doubling begins again.
DOUBLE_AGAIN_GAIN = 1.15
#: If the rate grew by this share of what the number grew by, each stream has a limit of its own, and more are tried
#: without much waiting.
LINEAR_SHARE = 0.85
#: The share of the rate that fewer connections must reach to be kept.
KEPT_SHARE = 0.97
#: A rate that is so many times what it was, or as small a part of it, with the same number of connections, is a misfit;
#: so many windows in a row that are misfits are a changed path. One may be a slow disk.
MISFIT, MISFITS_OF_A_CHANGE = 1.5, 2
#: Bytes of the smallest response that measures a stream's rate: a smaller one measures the round trip.
MIN_RATE_SAMPLE = 256 << 10
#: Seconds of rest after a trial that failed: at first, at first after a busy response, and at most after doublings.
REST, BUSY_REST, MAX_REST = 2.0, 5.0, 60.0


class Growth(Enum):
    """How the number grows. ``LINEAR`` doubles, after a doubling whose rate grew nearly as much: windows are short."""

    LINEAR = "linear"
    DOUBLING = "doubling"
    GRADUAL = "gradual"

    @property
    def factor(self) -> float:
        """What a trial multiplies the number by."""
        return QUARTER_MORE if self is Growth.GRADUAL else DOUBLE


class Search(Enum):
    """What is being tried, and what is tried next; the transitions are those of `ConcurrencyController`."""

    HOLD = "hold"
    HOLD_THEN_FEWER = "hold, then fewer"
    TRY_MORE = "try more"
    TRY_MORE_ON_CHANGED_PATH = "try more on a changed path"
    TRY_FEWER = "try fewer"

    @property
    def is_trial(self) -> bool:
        """Is another number at work than the one that the base rate was measured with?"""
        return self not in (Search.HOLD, Search.HOLD_THEN_FEWER)


@dataclass(frozen=True, slots=True)
class ConcurrencyController:
    """``allowed`` connections of at most ``most``.

    The state of the search changes when a window ends, by its rate; a busy response leads from any state to HOLD.
    "fits" compares it with the base rate, "resting" means that the present rest is not over, "at most" that all
    connections are allowed, and "few" that fewer would be less than `INITIAL`:

    ::

        search                    window                   search afterwards         what follows
        ------------------------  -----------------------  ------------------------  ----------------------------
        HOLD                      fits, resting            HOLD                      it rests
        HOLD                      fits                     TRY_MORE
        HOLD                      fits, at most            HOLD_THEN_FEWER           the longest rest
        HOLD                      misfit                   HOLD
        HOLD                      2nd misfit               TRY_MORE_ON_CHANGED_PATH
        HOLD                      2nd misfit, at most      HOLD_THEN_FEWER           no rest
        HOLD_THEN_FEWER           fits, resting            HOLD_THEN_FEWER           it rests
        HOLD_THEN_FEWER           fits                     TRY_FEWER
        HOLD_THEN_FEWER           fits, few                HOLD
        HOLD_THEN_FEWER           misfit                   HOLD_THEN_FEWER
        HOLD_THEN_FEWER           2nd misfit               TRY_MORE_ON_CHANGED_PATH
        HOLD_THEN_FEWER           2nd misfit, at most      HOLD_THEN_FEWER           no rest
        TRY_MORE                  gains                    TRY_MORE
        TRY_MORE                  gains, at most           HOLD_THEN_FEWER           the longest rest
        TRY_MORE                  does not gain            HOLD                      base again, a longer rest
        TRY_MORE                  does not gain, longest   HOLD_THEN_FEWER           base again, the longest rest
        TRY_MORE_ON_CHANGED_PATH  gains                    TRY_MORE
        TRY_MORE_ON_CHANGED_PATH  gains, at most           HOLD_THEN_FEWER           the longest rest
        TRY_MORE_ON_CHANGED_PATH  does not gain            HOLD_THEN_FEWER           base again, a longer rest
        TRY_FEWER                 keeps the rate           TRY_FEWER
        TRY_FEWER                 keeps the rate, few      HOLD
        TRY_FEWER                 loses                    HOLD                      base again, a longer rest

    The way in which the number grows is a state as well ("linearly": by `LINEAR_SHARE` of what the number grew by; "a
    lot": by `DOUBLE_AGAIN_GAIN`). A server that was ever busy leaves GRADUAL only after a failure at the shortest rest:

    ::

        growth    event                          growth afterwards
        --------  -----------------------------  -----------------
        LINEAR    gains linearly                 LINEAR
        LINEAR    gains                          DOUBLING
        DOUBLING  gains linearly                 LINEAR
        DOUBLING  gains                          DOUBLING
        GRADUAL   gains a lot                    DOUBLING
        GRADUAL   gains a lot, was busy          GRADUAL
        GRADUAL   gains                          GRADUAL
        any       does not gain, shortest rest   DOUBLING
        any       does not gain                  GRADUAL
        any       fewer are tried                GRADUAL
        any       the path changes               DOUBLING
        any       the path changes, was busy     GRADUAL
        any       a busy response                GRADUAL

    ``base`` is the number that ``base_rate`` (bytes per second, 0 while unknown) was measured with, and ``misfits`` the
    windows in a row whose rate does not fit to it. ``rest``: seconds of the next rest, ``rest_until``: the end of the
    present one. ``settling_since``: when the present window began; ``measured_from``: (time, bytes) from which it
    measures, None while new streams reach their rate. ``rtt``: the shortest wait for a response head, in seconds.
    ``stream_rate``: recent bytes per second of one stream, 0 while unknown, and ``stream_rate_at``, when that was
    measured. ``busy_until``: until when busy responses are those of an overload that is known; None if the server was
    never busy. ``sharers``: how many paths share ``most`` at the start.
    """

    most: int
    allowed: int
    base: int
    base_rate: float = 0.0
    search: Search = Search.HOLD
    growth: Growth = Growth.DOUBLING
    misfits: int = 0
    rest: float = REST
    rest_until: float = 0.0
    settling_since: float | None = None
    measured_from: tuple[float, int] | None = None
    rtt: float = 0.0
    stream_rate: float = 0.0
    stream_rate_at: float = 0.0
    busy_until: float | None = None
    sharers: int = 1

    @classmethod
    def start(cls, most: int, sharers: int = 1) -> ConcurrencyController:
        """Before anything is known of the path; `most` is shared with other paths, `sharers` in all."""
        initial = max(1, min(INITIAL, most // sharers))
        return cls(most, initial, initial, sharers=sharers)

    def record_round_trip(self, rtt: float) -> ConcurrencyController:
        """After a connection was made, whose round trip took `rtt` seconds. The first one sets the initial number."""
        if self.rtt:
            return replace(self, rtt=min(self.rtt, rtt))
        share = max(1, self.most // self.sharers)
        initial = min(share, max(INITIAL, min(int(INITIAL_PER_RTT * rtt), MAX_INITIAL)))
        return replace(self, rtt=rtt, allowed=initial, base=initial, search=Search.HOLD)

    def record_response_head(self, seconds: float) -> ConcurrencyController:
        """After a response head arrived `seconds` after its request, the time to connect not included."""
        return replace(self, rtt=min(seconds, self.rtt or seconds))

    def record_throughput(self, now: float, size: int, seconds: float) -> ConcurrencyController:
        """After one stream received `size` bytes in `seconds` until `now`, the wait for the head included.

        A response that took less than a second shows only that the stream carries at least as much in a second: many
        servers that limit a stream's rate send its first second's bytes at once.
        """
        if size < MIN_RATE_SAMPLE:
            return self
        if seconds < 1.0:
            return replace(self, stream_rate=max(self.stream_rate, float(size)), stream_rate_at=now)
        rate = size / seconds
        smoothed = self.stream_rate * 0.75 + rate * 0.25 if self.stream_rate else rate
        return replace(self, stream_rate=smoothed, stream_rate_at=now)

    def record_busy(self, now: float) -> ConcurrencyController:
        """After the server answered that it is busy. Such answers to several streams at once count once."""
        if self.busy_until is not None and now < self.busy_until:
            return self
        # Before anything was measured, the round trip alone is the reason for more than INITIAL.
        measured = bool(self.base_rate) or self.busy_until is not None
        known = self.allowed if measured else min(self.allowed, INITIAL)
        fewer = self.base if self.base < self.allowed else max(1, known // 2)
        rested = replace(self, rest=max(self.rest, BUSY_REST))
        reverted = rested._revert(now, fewer, Search.HOLD, Growth.GRADUAL)
        return replace(reverted, base_rate=0.0, busy_until=now + max(1.0, 2 * self.rtt))

    def observe(self, now: float, received: int, representative: bool) -> ConcurrencyController:
        """To be called several times a second, and at `next_observation`. `received`: bytes so far; `representative`:
        all allowed connections are in use, and no more; otherwise their rate says nothing about the path."""
        if not representative or self.most == 1:
            interrupted = self.settling_since is not None
            return replace(self, settling_since=None, measured_from=None) if interrupted else self
        if self.settling_since is None:
            return replace(self, settling_since=now, measured_from=None)
        if self.measured_from is None:
            settled = now - self.settling_since >= self._settling_time
            return replace(self, measured_from=(now, received)) if settled else self
        then, before = self.measured_from
        if now < self._window_end(then):
            return self
        judged = self._judge_window(now, (received - before) / (now - then))
        # Streams for which nothing changed need no time to reach their rate.
        return replace(judged, measured_from=(now, received)) if judged.allowed == self.allowed else judged

    @property
    def next_observation(self) -> float | None:
        """The clock reading at which `observe` has something to do; None while nothing is measured."""
        if self.settling_since is None:
            return None
        if self.measured_from is None:
            return self.settling_since + self._settling_time
        return self._window_end(self.measured_from[0])

    @property
    def _settling_time(self) -> float:
        """Seconds that new streams get to reach their rate."""
        return max(2 * self.rtt, 0.1) if self.growth is Growth.LINEAR else min(max(4 * self.rtt, 0.25), 3.0)

    @property
    def _window_length(self) -> float:
        """Seconds over which a rate is measured: several round trips, and longer if an error would cost more, or if a
        smaller difference counts."""
        quick = self.base < MANY or self.growth is Growth.LINEAR
        window = min(max(4 * self.rtt, 0.25 if quick else 0.75), 2.0)
        return 4 * window if self.growth is Growth.GRADUAL else window

    def _window_end(self, begin: float) -> float:
        """When the window that began at `begin` is long enough; at the end of the rest if that comes before the next
        window would end, so that a trial follows."""
        length = self._window_length
        end = begin + length
        return self.rest_until if end < self.rest_until < end + length else end

    def _judge_window(self, now: float, rate: float) -> ConcurrencyController:
        """After a window with `rate` bytes per second."""
        gain = rate / self.base_rate if self.base_rate else 1.0
        match self.search:
            case Search.TRY_MORE | Search.TRY_MORE_ON_CHANGED_PATH:
                return self._judge_more(now, rate, gain)
            case Search.TRY_FEWER:
                if gain < KEPT_SHARE:
                    return self._revert(now, self.base, Search.HOLD, Growth.GRADUAL)
                return replace(self, base=self.allowed, base_rate=rate)._try_fewer(now)
            case Search.HOLD | Search.HOLD_THEN_FEWER:
                return self._judge_base(now, rate, gain)

    def _judge_more(self, now: float, rate: float, gain: float) -> ConcurrencyController:
        """After a window with more connections than ``base``."""
        factor = self.growth.factor
        if gain < REQUIRED_GAIN[factor]:
            # The first time, the streams before may still have been in slow start, above what losses permit.
            growth = Growth.DOUBLING if self.rest == REST else Growth.GRADUAL
            fewer_next = self.search is Search.TRY_MORE_ON_CHANGED_PATH or self.rest == MAX_REST
            return self._revert(now, self.base, Search.HOLD_THEN_FEWER if fewer_next else Search.HOLD, growth)
        growth = self.growth
        if factor == DOUBLE:
            growth = Growth.LINEAR if gain >= LINEAR_SHARE * (self.allowed / self.base) else Growth.DOUBLING
        elif gain >= DOUBLE_AGAIN_GAIN and self.busy_until is None:
            growth = Growth.DOUBLING
        return replace(self, base=self.allowed, base_rate=rate, growth=growth, rest=REST)._try_more(now)

    def _judge_base(self, now: float, rate: float, gain: float) -> ConcurrencyController:
        """After a window with ``base`` connections."""
        fits = 1 / MISFIT < gain < MISFIT
        if not fits and self.misfits + 1 < MISFITS_OF_A_CHANGE:
            return replace(self, misfits=self.misfits + 1)
        known = replace(self, base_rate=rate, misfits=0, settling_since=now, measured_from=None)
        if not fits:
            was_busy = self.busy_until is not None
            rest, growth = (BUSY_REST, Growth.GRADUAL) if was_busy else (REST, Growth.DOUBLING)
            return replace(known, rest=rest, rest_until=now, growth=growth)._try_more(now, path_changed=True)
        if now < self.rest_until:
            return known
        return known._try_fewer(now) if self.search is Search.HOLD_THEN_FEWER else known._try_more(now)

    def _try_more(self, now: float, *, path_changed: bool = False) -> ConcurrencyController:
        """Begin a trial of more; at ``most`` only fewer can be tried: at once on a changed path, and otherwise after
        the longest rest."""
        begun = replace(self, settling_since=now, measured_from=None)
        if self.allowed == self.most:
            return replace(begun, search=Search.HOLD_THEN_FEWER, rest_until=now if path_changed else now + MAX_REST)
        more = min(self.most, max(self.allowed + 1, int(self.allowed * self.growth.factor)))
        search = Search.TRY_MORE_ON_CHANGED_PATH if path_changed else Search.TRY_MORE
        return replace(begun, allowed=more, search=search)

    def _try_fewer(self, now: float) -> ConcurrencyController:
        """Begin a trial of fewer, unless those are less than `INITIAL`."""
        begun = replace(self, settling_since=now, measured_from=None)
        fewer = int(self.allowed / QUARTER_MORE)
        if fewer < INITIAL:
            return replace(begun, search=Search.HOLD)
        return replace(begun, allowed=fewer, search=Search.TRY_FEWER, growth=Growth.GRADUAL)

    def _revert(self, now: float, allowed: int, search: Search, growth: Growth) -> ConcurrencyController:
        """Back to `allowed`, with a rest before the next trial."""
        return replace(
            self,
            allowed=allowed,
            base=allowed,
            search=search,
            growth=growth,
            misfits=0,
            rest_until=now + self.rest,
            rest=min(2 * self.rest, MAX_REST),
            settling_since=None,
            measured_from=None,
        )
