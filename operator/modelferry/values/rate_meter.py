"""The rate at which a count grows. Pure: clock readings are arguments."""

from __future__ import annotations

from dataclasses import dataclass, replace


@dataclass(frozen=True, slots=True)
class RateMeter:
    """The rate over the last ``window`` seconds, from samples of (time, bytes so far).

    One sample is kept for each ``interval`` of the clock (0: all of them), so that meters that are sampled together
    cover the same seconds.
    """

    window: float
    interval: float = 0.0
    samples: tuple[tuple[float, int], ...] = ()

    def sampled(self, now: float, count: int) -> RateMeter:
        """With `count` bytes so far, at clock reading `now`. If the count falls, the measurement starts again."""
        samples = self.samples
        if samples and count < samples[-1][1]:
            samples = ()
        if samples and self.interval and now // self.interval == samples[-1][0] // self.interval:
            return self
        kept = [sample for sample in samples[:-1] if now - sample[0] <= self.window] + list(samples[-1:])
        return replace(self, samples=(*kept, (now, count)))

    @property
    def seconds(self) -> float:
        """How long the count has been measured, up to about ``window``."""
        return self.samples[-1][0] - self.samples[0][0] if self.samples else 0.0

    @property
    def rate(self) -> float:
        """Bytes per second until the last sample; 0 without a measurement."""
        return self.rate_at(self.samples[-1][0]) if self.samples else 0.0

    def rate_at(self, now: float) -> float:
        """The same until `now`: it falls while no sample follows."""
        return self._rate_since(self.samples[0], now) if self.samples else 0.0

    def recent_rate(self, seconds: float) -> float:
        """The rate over the last `seconds` before the last sample."""
        if not self.samples:
            return 0.0
        last = self.samples[-1][0]
        start = next((one for one in reversed(self.samples) if last - one[0] >= seconds), self.samples[0])
        return self._rate_since(start, last)

    def _rate_since(self, start: tuple[float, int], now: float) -> float:
        then, count = start
        return (self.samples[-1][1] - count) / (now - then) if now > then else 0.0
