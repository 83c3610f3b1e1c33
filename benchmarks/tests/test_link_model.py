"""The model of an emulated network path, with a simulated clock."""

from __future__ import annotations

from random import Random

import pytest
from benchmarks.link_model import SimplexLink
from benchmarks.network_path import LOOPBACK, NetworkPath, wan


def no_loss() -> float:
    return 1.0


def test_packets_are_delivered_one_after_the_other_at_the_links_rate() -> None:
    link = SimplexLink(rate=1000.0, delay=0.0, loss=0.0, limit=10_000, random=no_loss)
    for _ in range(3):
        link.send(bytes(100), now=5.0)
    assert list(link.delivered(5.05)) == []
    assert len(list(link.delivered(5.1000001))) == 1
    assert link.next_delivery == pytest.approx(5.2)
    assert len(list(link.delivered(9.0))) == 2
    assert link.next_delivery is None


def test_the_delay_is_added_and_does_not_reduce_the_capacity() -> None:
    link = SimplexLink(rate=1000.0, delay=1.0, loss=0.0, limit=10_000, random=no_loss)
    link.send(bytes(100), now=0.0)
    link.send(bytes(100), now=0.0)
    assert link.next_delivery == pytest.approx(1.1)
    assert len(list(link.delivered(1.2000001))) == 2


def test_an_idle_link_accumulates_no_credit() -> None:
    link = SimplexLink(rate=1000.0, delay=0.0, loss=0.0, limit=10_000, random=no_loss)
    link.send(bytes(100), now=0.0)
    link.send(bytes(100), now=50.0)
    list(link.delivered(1.0))
    assert link.next_delivery == pytest.approx(50.1)


def test_a_full_queue_drops_packets() -> None:
    link = SimplexLink(rate=1000.0, delay=0.0, loss=0.0, limit=150, random=no_loss)
    for _ in range(5):
        link.send(bytes(100), now=0.0)
    assert (link.stats.packets, link.stats.dropped, link.stats.bytes) == (2, 3, 200)


def test_without_a_rate_the_queue_has_no_limit() -> None:
    link = SimplexLink(rate=0.0, delay=0.5, loss=0.0, limit=0, random=no_loss)
    for _ in range(100):
        link.send(bytes(1500), now=0.0)
    assert len(list(link.delivered(0.5))) == 100


def test_losses_are_random_and_use_no_capacity() -> None:
    link = SimplexLink(rate=0.0, delay=0.0, loss=0.1, limit=0, random=Random(1).random)
    for _ in range(10_000):
        link.send(b"x", now=0.0)
    assert 900 < link.stats.lost < 1100
    assert link.stats.lost + link.stats.packets == 10_000
    assert link.stats.packets == len(list(link.delivered(0.0)))


def test_the_capacity_counts_content_and_the_emulators_rate_counts_packets() -> None:
    path = wan(100, 0.180, 0.001)
    assert path.capacity == pytest.approx(12.5e6 * 1448 / 1500)
    assert path.emulator_config.rate == pytest.approx(100e6)
    assert path.emulator_config.delay == pytest.approx(0.09)
    assert path.queue == 2_250_000


def test_a_path_is_described_by_its_properties() -> None:
    assert str(LOOPBACK) == "loopback"
    assert str(wan(100, 0.180, 0.001)).startswith("100 Mbit/s (12.1 MB/s of content), 180 ms RTT, 0.1% loss")
    assert str(NetworkPath("shaped", 50e6)) == "418 Mbit/s (50.0 MB/s of content), cubic sender"
