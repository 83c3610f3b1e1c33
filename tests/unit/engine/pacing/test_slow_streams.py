"""Which streams are aborted, and which share their rest."""

from __future__ import annotations

from dataclasses import replace

from modelferry.engine.pacing import (
    ConcurrencyController,
    RateMeter,
    Stream,
    find_slow,
    find_stalled,
    find_steal_candidate,
    steal_offset,
    stream_meter,
)
from unit.engine.pacing.measured import MIB, measured_controller


def meter(rate: float, seconds: float = 5.0) -> RateMeter:
    found = stream_meter()
    for step in range(int(seconds * 4) + 1):
        found = found.sampled(step / 4, int(step / 4 * rate))
    return found


def streams(*rates: float, remaining: int = 8 * MIB, seconds: float = 5.0) -> list[Stream]:
    return [Stream(number, "a", 0, remaining, meter(rate, seconds)) for number, rate in enumerate(rates)]


def test_a_stream_that_is_slow_compared_with_its_siblings_is_aborted() -> None:
    concurrency = ConcurrencyController.start(16)
    assert [s.key for s in find_slow(streams(1e6, 1e6, 1e6, 2e5), concurrency, 5.0)] == [3]
    assert not find_slow(streams(1e6, 1e6, 1e6, 3e5), concurrency, 5.0)
    assert not find_slow(streams(1e6, 1e6, 1e6, 0.0, seconds=3.0), concurrency, 5.0)


def test_if_all_streams_are_slow_none_is_aborted() -> None:
    assert not find_slow(streams(0.0, 0.0, 0.0, 0.0, 10.0), measured_controller(1e6), 1.0)
    assert not find_slow(streams(10.0), measured_controller(1e6), 60.0)


def test_a_single_stream_is_compared_with_those_that_ended_a_moment_ago() -> None:
    assert [s.key for s in find_slow(streams(1e5), measured_controller(1e6), 4.0)] == [0]


def test_streams_of_another_server_are_no_siblings() -> None:
    far = replace(streams(1e5)[0], key=9, origin="b")
    assert not find_slow([*streams(1e6, 1e6, 1e6, 1e6), far], ConcurrencyController.start(16), 5.0)


def test_a_part_that_is_slow_every_time_is_not_aborted_again() -> None:
    slow = replace(streams(0.0)[0], key=9, drops=3)
    assert not find_slow([*streams(1e6, 1e6, 1e6, 1e6), slow], ConcurrencyController.start(16), 5.0)


def test_an_idle_connection_takes_half_of_the_slow_stream_that_would_end_last() -> None:
    found = find_steal_candidate(streams(2e5, 1e5, 1.5e6), measured_controller(1e6), 4.0)
    assert found is not None
    assert (found.key, steal_offset(found, measured_controller(1e6, rtt=0.0))) == (1, 4 * MIB)


def test_on_a_slow_path_the_last_parts_are_shared_though_none_is_slow() -> None:
    found = find_steal_candidate(streams(2e5, 1e5), measured_controller(2e5), 4.0)
    assert found is not None
    assert found.key == 1


def test_what_ends_soon_anyway_or_is_little_or_may_not_be_divided_is_not_shared() -> None:
    concurrency = measured_controller(1e6)
    assert find_steal_candidate(streams(2e5), concurrency, 4.0)
    assert find_steal_candidate(streams(1e6, 5e5), concurrency, 4.0) is None
    assert find_steal_candidate(streams(5e5), measured_controller(3e6), 4.0)
    assert find_steal_candidate(streams(5e6), measured_controller(3e7), 4.0) is None
    assert find_steal_candidate(streams(2e5, remaining=500_000), concurrency, 4.0) is None
    indivisible = [replace(stream, indivisible=True) for stream in streams(2e5)]
    assert find_steal_candidate(indivisible, concurrency, 4.0) is None
    assert find_steal_candidate(streams(2e5, seconds=0.5), concurrency, 4.0) is None


def test_on_a_slow_path_little_is_shared_and_the_round_trip_of_the_other_stream_counts() -> None:
    slow_path = measured_controller(2e5, rtt=0.18)
    found = find_steal_candidate(streams(2e5, 1e5, remaining=256_000), slow_path, 4.0)
    assert found is not None
    assert found.key == 1
    assert steal_offset(found, slow_path) == (256_000 + 18_000) // 2
    assert find_steal_candidate(streams(2e5, remaining=50_000), slow_path, 4.0) is None


def test_a_stream_that_stalls_at_the_end_is_not_waited_for() -> None:
    concurrency = measured_controller(1e6)
    assert [s.key for s in find_stalled(streams(1e6, 1e6, 1e6, 0.0, remaining=1000), concurrency, 5.0)] == [3]
    assert not find_stalled(streams(1e6, 1e6, 1e6, 1e3), concurrency, 5.0)
    assert not find_stalled(streams(1e6, 1e6, 1e6, 0.0, seconds=1.0), concurrency, 5.0)
    assert not find_stalled(streams(0.0, 0.0, 0.0, 0.0), replace(concurrency, stream_rate_at=-10.0), 5.0)
    assert not find_stalled([replace(streams(0.0)[0], drops=3)], concurrency, 4.0)
