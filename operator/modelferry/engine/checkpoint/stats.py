"""What a download cost, as counts and seconds that can be added up and compared. Pure."""

from __future__ import annotations

from collections.abc import Iterable

#: (what, mirror): times, seconds. What a server's behavior (docs/hostile-servers.md) cost is under its label; the
#: mirror is "" for what this machine did by itself.
Costs = dict[tuple[str, str], tuple[int, float]]


def add(costs: Costs, key: tuple[str, str], times: int, seconds: float) -> None:
    """Add to what `key` has cost."""
    before = costs.get(key, (0, 0.0))
    costs[key] = before[0] + times, before[1] + seconds


def since(told: Iterable[tuple[str, str, int, float]], before: Costs) -> Costs:
    """What `told`, which counts from a beginning, has more than `before`."""
    grown: Costs = {}
    for what, mirror, times, seconds in told:
        known = before.get((what, mirror), (0, 0.0))
        if (times, seconds) != known:
            grown[what, mirror] = times - known[0], seconds - known[1]
    return grown
