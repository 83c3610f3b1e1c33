"""What several mirrors bring together, over simulated lines."""

from __future__ import annotations

import pytest

from unit.engine.mirrors.mirror_simulator import Line, Race

MB, GB = 1e6, 10**9


def test_three_mirrors_bring_together_what_each_brings_alone() -> None:
    lines = {"slow": Line(10 * MB), "middling": Line(20 * MB), "fast": Line(40 * MB)}
    race = Race(lines, 2 * GB).run()
    assert race.rate >= 65 * MB
    assert race.brought["fast"] > race.brought["middling"] > race.brought["slow"]


@pytest.mark.parametrize("connections", [8, 16, 32])
@pytest.mark.parametrize("cap", [float("inf"), 2.5 * MB])
def test_no_mirror_starves_whatever_limits_it(connections: int, cap: float) -> None:
    lines = {"one": Line(20 * MB, cap=cap), "two": Line(20 * MB)}
    race = Race(lines, GB // 2, connections).run()
    alone = min(20 * MB, cap * connections / 2)
    assert race.rate >= 0.8 * (alone + 20 * MB)


def test_a_mirror_that_crawls_is_not_waited_for() -> None:
    race = Race({"crawl": Line(0.2 * MB), "fast": Line(40 * MB)}, GB).run()
    assert race.rate >= 0.9 * 40 * MB


def test_a_long_line_beside_a_short_one() -> None:
    race = Race({"far": Line(30 * MB, rtt=0.25, cap=2 * MB), "near": Line(30 * MB, rtt=0.002)}, GB, 32).run()
    assert race.rate >= 0.85 * 60 * MB
