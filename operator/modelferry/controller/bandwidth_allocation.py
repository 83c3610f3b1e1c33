"""Allocates the cluster's bandwidth to the downloads. Pure. Rates are integer bytes per second."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Consumer:
    """A download. ``limit``: its own limit, None for none. ``share``: the share that was written to its pod, None if
    none was ever written. ``in_use``: the share that it applies, as far as known; None if it applies no limit."""

    name: str
    limit: int | None
    share: int | None
    in_use: int | None


def max_min_shares(total: int, demands: Mapping[str, int | None]) -> dict[str, int]:
    """Max-min fairness (Bertsekas and Gallager, Data Networks, section 6.5.2): no one gets more than its demand
    (None: unlimited), and no one could get more without taking from another that has no more. The sum is at most
    `total`."""
    shares: dict[str, int] = {}
    ascending = sorted(demands, key=lambda name: (demands[name] is None, demands[name] or 0, name))
    left = max(0, total)
    for number, name in enumerate(ascending):
        equal, demand = left // (len(ascending) - number), demands[name]
        shares[name] = equal if demand is None else min(equal, demand)
        left -= shares[name]
    return shares


def allocate(total: int, consumers: Sequence[Consumer]) -> dict[str, int]:
    """The share of each consumer now. The sum of these shares, and that of the shares still in use, is at most `total`:
    a share that is too large is cut immediately, and one that is too small grows by what others have released."""
    target = max_min_shares(total, {one.name: one.limit for one in consumers})
    if any(one.in_use is None for one in consumers):
        # One still receives without a limit: nothing is free until it applies its share.
        unlimited = {one.name: target[one.name] if one.in_use is None else 0 for one in consumers}
        return {one.name: unlimited[one.name] or min(target[one.name], one.share or 0) for one in consumers}
    used = {
        one.name: max(one.in_use or 0, min(target[one.name], one.share if one.share is not None else total))
        for one in consumers
    }
    missing = {name: max(0, target[name] - amount) for name, amount in used.items()}
    extra = max_min_shares(total - sum(used.values()), missing)
    return {name: min(target[name], used[name] + extra[name]) for name in used}
