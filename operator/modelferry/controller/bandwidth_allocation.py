"""The cluster's bandwidth, shared out among the downloads. Pure. Rates are whole bytes per second."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Claimant:
    """A download. ``most``: what it could use by its own limit, None for anything. ``granted``: its share, None where
    it was never given one. ``used``: what it works by, as far as that is known; None for no limit."""

    name: str
    most: int | None
    granted: int | None
    used: int | None


def fair(total: int, wanted: Mapping[str, int | None]) -> dict[str, int]:
    """Max-min fairness (Bertsekas and Gallager, Data Networks, section 6.5.2): nobody gets more than is `wanted`
    (None: anything), and nobody could get more but at the cost of one who has no more. The sum is at most `total`."""
    shares: dict[str, int] = {}
    modest = sorted(wanted, key=lambda name: (wanted[name] is None, wanted[name] or 0, name))
    left = max(0, total)
    for number, name in enumerate(modest):
        equal, most = left // (len(modest) - number), wanted[name]
        shares[name] = equal if most is None else min(equal, most)
        left -= shares[name]
    return shares


def grants(total: int, claimants: Sequence[Claimant]) -> dict[str, int]:
    """The share of each now. Their sum, and that of what they still use, is at most `total`: who has too much is cut
    at once, and who has too little gets what the others have let go of."""
    target = fair(total, {one.name: one.most for one in claimants})
    if any(one.used is None for one in claimants):
        held = {one.name: target[one.name] if one.used is None else 0 for one in claimants}
        # Somebody still works without a limit: nothing is free until that one has heard of its share.
        return {one.name: held[one.name] or min(target[one.name], one.granted or 0) for one in claimants}
    used = {
        one.name: max(one.used or 0, min(target[one.name], one.granted if one.granted is not None else total))
        for one in claimants
    }
    missing = {name: max(0, target[name] - held) for name, held in used.items()}
    extra = fair(total - sum(used.values()), missing)
    return {name: min(target[name], used[name] + extra[name]) for name in used}
