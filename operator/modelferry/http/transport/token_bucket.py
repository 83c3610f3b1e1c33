"""A token bucket: how many bytes may be taken now, and when the next ones may be. Pure."""

from __future__ import annotations

from dataclasses import dataclass, replace

#: Seconds' worth of bytes that an unused bucket saves up: what bridges a late look at the clock, and the most by which
#: any second exceeds the rate (5 %).
DEPTH = 0.05


@dataclass(frozen=True, slots=True)
class TokenBucket:
    """``rate`` in bytes per second, above 0. ``tokens``: bytes that may be taken at clock reading ``at``.

    Over any time of t seconds it gives at most ``rate * (t + DEPTH)`` bytes. A caller that takes again within `DEPTH`
    seconds loses none, so over a long time it gives ``rate`` exactly.
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
        """Bytes that it holds at most: one at least, or it would never give any."""
        return max(1.0, self.rate * DEPTH)

    def refilled(self, now: float) -> TokenBucket:
        """With the tokens that were added until `now`."""
        return replace(self, tokens=min(self.depth, self.tokens + (now - self.at) * self.rate), at=now)

    def with_rate(self, rate: float, now: float) -> TokenBucket:
        """With another `rate` from `now` on; the tokens of the old one are kept as far as they fit."""
        old = self.refilled(now)
        changed = replace(old, rate=rate)
        return replace(changed, tokens=min(old.tokens, changed.depth))

    def take(self, now: float, wanted: int) -> tuple[TokenBucket, int]:
        """The bucket after it gave, at `now`, as many of `wanted` bytes as it has; and how many these are."""
        full = self.refilled(now)
        taken = min(wanted, int(full.tokens))
        return replace(full, tokens=full.tokens - taken), taken

    def wait(self, now: float, wanted: int) -> float:
        """Seconds from `now` until `take` gives all of `wanted`, or half a bucket where that is less."""
        due = min(wanted, max(1, int(self.depth / 2)))
        missing = due - self.refilled(now).tokens
        # A microsecond more: a sum of floats may come to 2.9999999 of 3 bytes, which would never be enough.
        return missing / self.rate + 1e-6 if missing > 0 else 0.0
