"""The emulated line, on a clock of the test's own."""

from __future__ import annotations

from random import Random

import pytest
from benchmarks.line import Direction
from benchmarks.links import LOOPBACK, Line, wan


def never() -> float:
    return 1.0


def test_packets_leave_one_after_the_other_at_the_lines_rate() -> None:
    line = Direction(rate=1000.0, delay=0.0, loss=0.0, limit=10_000, chance=never)
    for _ in range(3):
        line.offer(bytes(100), now=5.0)
    assert list(line.due(5.05)) == []
    assert len(list(line.due(5.1000001))) == 1
    assert line.next_due == pytest.approx(5.2)
    assert len(list(line.due(9.0))) == 2
    assert line.next_due is None


def test_the_delay_comes_on_top_and_costs_no_capacity() -> None:
    line = Direction(rate=1000.0, delay=1.0, loss=0.0, limit=10_000, chance=never)
    line.offer(bytes(100), now=0.0)
    line.offer(bytes(100), now=0.0)
    assert line.next_due == pytest.approx(1.1)
    assert len(list(line.due(1.2000001))) == 2


def test_an_idle_line_saves_nothing_up() -> None:
    line = Direction(rate=1000.0, delay=0.0, loss=0.0, limit=10_000, chance=never)
    line.offer(bytes(100), now=0.0)
    line.offer(bytes(100), now=50.0)
    list(line.due(1.0))
    assert line.next_due == pytest.approx(50.1)


def test_a_full_queue_drops() -> None:
    line = Direction(rate=1000.0, delay=0.0, loss=0.0, limit=150, chance=never)
    for _ in range(5):
        line.offer(bytes(100), now=0.0)
    assert (line.count.packets, line.count.overflowed, line.count.bytes) == (2, 3, 200)


def test_without_a_rate_there_is_no_queue() -> None:
    line = Direction(rate=0.0, delay=0.5, loss=0.0, limit=0, chance=never)
    for _ in range(100):
        line.offer(bytes(1500), now=0.0)
    assert len(list(line.due(0.5))) == 100


def test_losses_come_by_chance_and_take_no_room() -> None:
    line = Direction(rate=0.0, delay=0.0, loss=0.1, limit=0, chance=Random(1).random)
    for _ in range(10_000):
        line.offer(b"x", now=0.0)
    assert 900 < line.count.lost < 1100
    assert line.count.lost + line.count.packets == 10_000
    assert line.count.packets == len(list(line.due(0.0)))


def test_what_a_line_carries_is_content_and_what_it_is_ordered_as_are_packets() -> None:
    line = wan(100, 0.180, 0.001)
    assert line.carries == pytest.approx(12.5e6 * 1448 / 1500)
    assert line.order.rate == pytest.approx(100e6)
    assert line.order.delay == pytest.approx(0.09)
    assert line.queue == 2_250_000


def test_a_line_tells_what_it_is() -> None:
    assert str(LOOPBACK) == "loopback"
    assert str(wan(100, 0.180, 0.001)).startswith("100 Mbit/s (12.1 MB/s of content), 180 ms RTT, 0.1% loss")
    assert str(Line("shaped", 50e6)) == "418 Mbit/s (50.0 MB/s of content), cubic sender"
