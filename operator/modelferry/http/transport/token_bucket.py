"""An exact token bucket: how many bytes may be taken at once, and when the next ones may be. Pure."""

from __future__ import annotations

from dataclasses import dataclass, replace

#: Seconds' worth of bytes that an unused bucket saves up: what bridges a late look at the clock, and the most by which
#: any second exceeds the rate (5 %).
DEPTH = 0.05


@dataclass(frozen=True, slots=True)
class TokenBucket:
    """``rate`` in bytes per second, above 0. ``tokens``: bytes that might be taken at clock reading ``at``.

    Over any time of t seconds at most ``rate * (t + DEPTH)`` bytes are given; none is lost for one who comes again
    within `DEPTH` seconds, so over a long time it is ``rate`` exactly.
    """

    rate: float
    tokens: float
    at: float

    @classmethod
    def empty(cls, rate: float, now: float) -> TokenBucket:
        """It begins with nothing: the first second is like any other."""
        return cls(rate, 0.0, now)

    @property
    def depth(self) -> float:
        """Bytes that it holds at most: one at least, or nothing would ever be given."""
        return max(1.0, self.rate * DEPTH)

    def filled(self, now: float) -> TokenBucket:
        """With what came in until `now`."""
        return replace(self, tokens=min(self.depth, self.tokens + (now - self.at) * self.rate), at=now)

    def paced(self, rate: float, now: float) -> TokenBucket:
        """With another `rate` from `now` on; what was saved at the old one is kept as far as it fits."""
        old = self.filled(now)
        changed = replace(old, rate=rate)
        return replace(changed, tokens=min(old.tokens, changed.depth))

    def take(self, now: float, wanted: int) -> tuple[TokenBucket, int]:
        """The bucket without what it gives at `now`: of `wanted` bytes as many as there are."""
        full = self.filled(now)
        given = min(wanted, int(full.tokens))
        return replace(full, tokens=full.tokens - given), given

    def wait(self, now: float, wanted: int) -> float:
        """Seconds from `now` until `take` gives all of `wanted`, or half a bucket where that is less."""
        due = min(wanted, max(1, int(self.depth / 2)))
        missing = due - self.filled(now).tokens
        # A microsecond more: a sum of floats may come to 2.9999999 of 3 bytes, and would be waited for for ever.
        return missing / self.rate + 1e-6 if missing > 0 else 0.0
