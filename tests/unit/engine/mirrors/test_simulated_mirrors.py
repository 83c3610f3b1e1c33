"""What several mirrors deliver together, over simulated network paths."""

from __future__ import annotations

import pytest

from unit.engine.mirrors.mirror_simulator import Path, Race

MB, GB = 1e6, 10**9


def test_three_mirrors_deliver_together_what_each_delivers_alone() -> None:
    paths = {"slow": Path(10 * MB), "middling": Path(20 * MB), "fast": Path(40 * MB)}
    race = Race(paths, 2 * GB).run()
    assert race.rate >= 65 * MB
    assert race.delivered["fast"] > race.delivered["middling"] > race.delivered["slow"]


@pytest.mark.parametrize("connections", [8, 16, 32])
@pytest.mark.parametrize("cap", [float("inf"), 2.5 * MB])
def test_no_mirror_starves_whatever_limits_it(connections: int, cap: float) -> None:
    paths = {"one": Path(20 * MB, cap=cap), "two": Path(20 * MB)}
    race = Race(paths, GB // 2, connections).run()
    alone = min(20 * MB, cap * connections / 2)
    assert race.rate >= 0.8 * (alone + 20 * MB)


def test_a_very_slow_mirror_is_not_waited_for() -> None:
    race = Race({"slow": Path(0.2 * MB), "fast": Path(40 * MB)}, GB).run()
    assert race.rate >= 0.9 * 40 * MB


def test_a_long_path_beside_a_short_one() -> None:
    race = Race({"far": Path(30 * MB, rtt=0.25, cap=2 * MB), "near": Path(30 * MB, rtt=0.002)}, GB, 32).run()
    assert race.rate >= 0.85 * 60 * MB
