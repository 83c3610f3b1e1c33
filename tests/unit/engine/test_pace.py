"""How long to wait, when to give up, how many connections, how much each is asked for, which stream is helped."""

from __future__ import annotations

from dataclasses import replace

import pytest

from modelferry.engine.download.tasks import RangeTask
from modelferry.engine.pacing import (
    FIRST_DELAY,
    MAX_DELAY,
    ConcurrencyController,
    Load,
    Meter,
    ProgressDeadline,
    Stream,
    backoff,
    cut_of,
    find_slow,
    next_part,
    silent,
    victim,
)
from modelferry.manifest import Chunk

MIB = 1 << 20


@pytest.mark.parametrize(("failures", "most"), [(1, 0.5), (2, 1.0), (3, 2.0), (7, 30.0), (1000, 30.0)])
def test_a_backoff_doubles_up_to_its_cap_and_half_of_it_is_random(failures: int, most: float) -> None:
    assert backoff(failures, 0.0) == most / 2
    assert backoff(failures, 0.999) == pytest.approx(most, rel=0.01)
    assert FIRST_DELAY / 2 <= backoff(failures, 0.5) <= MAX_DELAY


def test_patience_is_spent_by_time_without_progress() -> None:
    budget = ProgressDeadline(progress_deadline=60.0, progressed=100.0)
    assert not budget.spent(160.0)
    assert budget.spent(160.1)
    assert not budget.progress(150.0).spent(210.0)


# How many connections.


def watch(concurrency: ConcurrencyController, rate: float, seconds: float, begin: float = 0.0) -> ConcurrencyController:
    """With `rate` bytes per second for each connection, looked at every 0.25 s."""
    received = 0.0
    for step in range(int(seconds * 4)):
        received += concurrency.allowed * rate / 4
        concurrency = concurrency.observe(begin + step / 4, int(received), True)
    return concurrency


def test_while_more_connections_pay_their_number_doubles_up_to_what_is_allowed() -> None:
    assert ConcurrencyController.start(100).allowed == 8
    assert watch(ConcurrencyController.start(100), 1e6, 0.75).allowed == 16
    assert watch(ConcurrencyController.start(100), 1e6, 10.0).allowed == 100
    assert watch(ConcurrencyController.start(3), 1e6, 10.0).allowed == 3


@pytest.mark.parametrize(("rtt", "count"), [(0.0002, 8), (0.02, 8), (0.05, 17), (0.18, 61), (0.6, 64)])
def test_the_longer_the_way_the_more_connections_begin(rtt: float, count: int) -> None:
    assert ConcurrencyController.start(128).met(rtt).allowed == count
    assert ConcurrencyController.start(16).met(rtt).allowed == min(count, 16)


def test_only_the_first_connection_says_how_many_begin() -> None:
    concurrency = ConcurrencyController.start(128).met(0.02).met(0.4)
    assert (concurrency.allowed, concurrency.rtt) == (8, 0.02)


def test_a_server_that_is_busy_at_once_is_asked_by_as_few_as_one_that_is_near() -> None:
    assert ConcurrencyController.start(128).met(0.18).busy(0.0).allowed == 4


def test_more_connections_that_do_not_pay_are_given_back() -> None:
    concurrency = ConcurrencyController.start(64)
    seen = set()
    for step in range(40):
        concurrency = concurrency.observe(step / 4, int(step * 2.5e6), True)
        seen.add(concurrency.allowed)
    assert seen == {8, 16, 10}  # Doubled in vain; later, and seldom, a quarter more.
    assert concurrency.base == 8


def test_where_a_doubling_nearly_doubles_the_rate_the_next_one_follows_soon() -> None:
    concurrency, received = ConcurrencyController.start(128), 0.0
    begun: dict[int, float] = {}
    for step in range(200):
        concurrency = concurrency.observe(step / 50, int(received), True)
        begun.setdefault(concurrency.allowed, step / 50)
        received += concurrency.allowed * 1e6 / 50
    assert begun[16] == pytest.approx(0.5, abs=0.05)
    assert begun[64] - begun[32] < 0.4


def test_one_odd_window_is_not_another_line_but_two_are() -> None:
    full = watch(ConcurrencyController.start(8), 1e6, 2.0)
    assert (full.base_rate, full.changed) == (8e6, False)
    begin = full.mark[0] if full.mark else 0.0
    stalled = full.observe(begin + 1.0, int(full.mark[1] if full.mark else 0), True)
    assert (stalled.base_rate, stalled.changed) == (8e6, False)
    slower = stalled.observe(begin + 2.0, int(stalled.mark[1] if stalled.mark else 0) + 1_000_000, True)
    assert (slower.base_rate, slower.changed) == (1e6, True)


def test_it_says_when_it_is_to_be_asked_next() -> None:
    concurrency = ConcurrencyController.start(16)
    assert concurrency.due is None
    concurrency = concurrency.observe(10.0, 0, True)
    assert concurrency.due == 10.25
    concurrency = concurrency.observe(10.25, 0, True)
    assert concurrency.due == 10.5
    assert concurrency.observe(10.5, 1_000_000, True).allowed == 16


def test_a_line_that_is_not_filled_teaches_nothing() -> None:
    concurrency = ConcurrencyController.start(64)
    for step in range(40):
        concurrency = concurrency.observe(step / 4, step * 1000, False)
    assert concurrency == ConcurrencyController.start(64)


def test_a_busy_server_is_asked_by_half_as_many() -> None:
    concurrency = ConcurrencyController.start(16).busy(0.0)
    assert concurrency.allowed == 4
    for second in range(10):
        concurrency = concurrency.busy(10.0 * second)
    assert concurrency.allowed == 1


def test_several_busy_answers_at_once_count_once() -> None:
    assert ConcurrencyController.start(16).busy(5.0).busy(5.1).busy(5.9).allowed == 4


def test_a_busy_answer_to_a_trial_takes_the_trial_back() -> None:
    trial = watch(ConcurrencyController.start(64), 1e6, 0.75)
    assert (trial.base, trial.allowed) == (8, 16)
    assert trial.busy(1.0).allowed == 8


def test_what_was_lost_to_a_busy_server_is_won_back_after_a_rest() -> None:
    concurrency = ConcurrencyController.start(16).busy(0.0)
    assert watch(concurrency, 1e6, 4.0).allowed == 4
    assert watch(concurrency, 1e6, 40.0).allowed == 16


# How much each is asked for.


def chunk(index: int = 0) -> Chunk:
    return Chunk(0, index, index * 16 * MIB, (index + 1) * 16 * MIB)


def known(rate: float, rtt: float = 0.02) -> ConcurrencyController:
    return ConcurrencyController.start(16).answered(rtt).brought(0.0, 4 * MIB, 4 * MIB / rate)


def test_before_anything_is_known_a_part_is_small() -> None:
    part, rest = next_part(ConcurrencyController.start(16), RangeTask.of(chunk()), 100 * MIB)
    assert rest is not None
    assert (part.start, part.end, rest.start, rest.end) == (0, MIB, MIB, 16 * MIB)


@pytest.mark.parametrize(("rate", "size"), [(1e4, MIB), (0.5 * MIB, 4 * MIB), (1.4 * MIB, 16 * MIB), (1e9, 16 * MIB)])
def test_a_part_is_what_a_stream_brings_in_some_seconds(rate: float, size: int) -> None:
    assert next_part(known(rate), RangeTask.of(chunk()), 1 << 40)[0].size == size


def test_on_a_long_way_the_first_parts_are_shorter_until_they_have_told_the_rate() -> None:
    far = ConcurrencyController.start(64).met(0.18)
    assert next_part(far, RangeTask.of(chunk()), 1 << 40)[0].size == MIB // 4
    assert next_part(far.brought(0.0, MIB // 4, 0.9), RangeTask.of(chunk()), 1 << 40)[0].size > MIB // 4


def test_at_the_end_of_a_weak_line_parts_are_less_than_a_mebibyte() -> None:
    weak = known(3e5, rtt=0.18)
    assert next_part(weak, RangeTask(chunk(), 0, MIB), 32 * MIB)[0].size == MIB
    assert next_part(weak, RangeTask(chunk(), 0, MIB), 2 * MIB)[0].size == 3 * MIB // 8


def test_where_round_trips_are_long_parts_are_longer() -> None:
    assert next_part(known(0.5 * MIB, rtt=0.2), RangeTask.of(chunk()), 1 << 40)[0].size == 8 * MIB


def test_towards_the_end_parts_become_shorter_unless_they_are_short_in_time() -> None:
    assert next_part(known(4 * MIB), RangeTask.of(chunk()), 48 * MIB)[0].size == 8 * MIB
    assert next_part(known(4 * MIB), RangeTask.of(chunk()), 0)[0].size == 2 * MIB
    assert next_part(known(100 * MIB), RangeTask.of(chunk()), 0)[0].size == 2 * MIB


def test_what_must_come_in_one_answer_is_not_divided() -> None:
    for concurrency, task in [
        (ConcurrencyController.start(16), RangeTask.again(chunk())),
        (ConcurrencyController.start(16), RangeTask.of(chunk(), reopen=True)),
        (ConcurrencyController.start(1), RangeTask.of(chunk())),
        (ConcurrencyController.start(16), RangeTask.of(Chunk(0, 0, 0, MIB + 100))),
    ]:
        assert next_part(concurrency, task, 1 << 40) == (task, None)


# Streams beside their siblings.


def meter(rate: float, seconds: float = 5.0) -> Meter:
    found = Meter()
    for step in range(int(seconds * 4) + 1):
        found = found.sampled(step / 4, int(step / 4 * rate))
    return found


def streams(*rates: float, left: int = 8 * MIB, seconds: float = 5.0) -> list[Stream]:
    return [Stream(number, "a", 0, left, meter(rate, seconds)) for number, rate in enumerate(rates)]


def test_a_meter_forgets_what_was_long_ago() -> None:
    found = Meter()
    for step in range(100):
        found = found.sampled(step / 4, step * 10 if step < 60 else 600)
    assert found.rate == 0.0
    assert found.seconds == pytest.approx(5.0, abs=0.5)
    assert meter(1000.0).rate == pytest.approx(1000.0)


def test_a_stream_that_is_slow_beside_its_siblings_is_given_up() -> None:
    concurrency = ConcurrencyController.start(16)
    assert [s.key for s in find_slow(streams(1e6, 1e6, 1e6, 2e5), concurrency, 5.0)] == [3]
    assert not find_slow(streams(1e6, 1e6, 1e6, 3e5), concurrency, 5.0)
    assert not find_slow(streams(1e6, 1e6, 1e6, 0.0, seconds=3.0), concurrency, 5.0)


def test_a_line_that_is_slow_as_a_whole_costs_no_stream() -> None:
    assert not find_slow(streams(0.0, 0.0, 0.0, 0.0, 10.0), known(1e6), 1.0)
    assert not find_slow(streams(10.0), known(1e6), 60.0)


def test_a_single_stream_is_compared_with_those_that_ended_a_moment_ago() -> None:
    assert [s.key for s in find_slow(streams(1e5), known(1e6), 4.0)] == [0]


def test_streams_of_another_server_are_no_siblings() -> None:
    far = replace(streams(1e5)[0], key=9, origin="b")
    assert not find_slow([*streams(1e6, 1e6, 1e6, 1e6), far], ConcurrencyController.start(16), 5.0)


def test_a_part_that_is_slow_every_time_is_left_alone() -> None:
    slow = replace(streams(0.0)[0], key=9, drops=3)
    assert not find_slow([*streams(1e6, 1e6, 1e6, 1e6), slow], ConcurrencyController.start(16), 5.0)


def test_an_idle_connection_takes_half_of_what_is_slow_and_would_end_last() -> None:
    found = victim(streams(2e5, 1e5, 1.5e6), known(1e6), 4.0)
    assert found is not None
    assert (found.key, cut_of(found, known(1e6, rtt=0.0))) == (1, 4 * MIB)


def test_on_a_weak_line_the_last_parts_are_shared_though_none_is_slow() -> None:
    found = victim(streams(2e5, 1e5), known(2e5), 4.0)
    assert found is not None
    assert found.key == 1


def test_what_ends_soon_anyway_or_is_little_or_may_not_be_divided_is_not_shared() -> None:
    concurrency = known(1e6)
    assert victim(streams(2e5), concurrency, 4.0)
    assert victim(streams(1e6, 5e5), concurrency, 4.0) is None
    assert victim(streams(5e5), known(3e6), 4.0)
    assert victim(streams(5e6), known(3e7), 4.0) is None
    assert victim(streams(2e5, left=500_000), concurrency, 4.0) is None
    assert victim([replace(stream, whole=True) for stream in streams(2e5)], concurrency, 4.0) is None
    assert victim(streams(2e5, seconds=0.5), concurrency, 4.0) is None


def test_on_a_weak_line_little_is_shared_and_the_other_ones_round_trip_counts() -> None:
    weak = known(2e5, rtt=0.18)
    found = victim(streams(2e5, 1e5, left=256_000), weak, 4.0)
    assert found is not None
    assert found.key == 1
    assert cut_of(found, weak) == (256_000 + 18_000) // 2
    assert victim(streams(2e5, left=50_000), weak, 4.0) is None


def test_what_is_silent_at_the_end_is_not_waited_for() -> None:
    concurrency = known(1e6)
    assert [s.key for s in silent(streams(1e6, 1e6, 1e6, 0.0, left=1000), concurrency, 5.0)] == [3]
    assert not silent(streams(1e6, 1e6, 1e6, 1e3), concurrency, 5.0)
    assert not silent(streams(1e6, 1e6, 1e6, 0.0, seconds=1.0), concurrency, 5.0)
    assert not silent(streams(0.0, 0.0, 0.0, 0.0), replace(concurrency, told=-10.0), 5.0)
    assert not silent([replace(streams(0.0)[0], drops=3)], concurrency, 4.0)


# Small requests beside large ones.


def test_four_small_requests_weigh_as_much_as_a_large_one() -> None:
    assert Load(7, 3).has_room(8, 128)
    assert not Load(7, 4).has_room(8, 128)
    assert Load(0, 31).has_room(8, 128)
    assert not Load(0, 32).has_room(8, 128)


def test_small_requests_take_no_more_connections_than_there_may_be_nor_than_are_of_use() -> None:
    assert not Load(4, 4).has_room(8, 8)
    assert Load(0, 31).has_room(16, 128)
    assert not Load(0, 32).has_room(16, 128)
    assert Load(100, 0).has_room(128, 128)


def test_small_and_large_requests_have_half_each() -> None:
    load, order = Load(0, 0), ""
    while load.has_room(2, 128):
        small = load.wants_small
        load = Load(load.large + (not small), load.small + small)
        order += "s" if small else "L"
    assert order == "sLsss"


def test_small_requests_alone_say_nothing_of_the_line() -> None:
    assert Load(8, 0).fills(8)
    assert Load(4, 16).fills(8)
    assert not Load(0, 32).fills(8)
    assert not Load(7, 0).fills(8)


def test_those_that_are_too_many_still_count_as_such() -> None:
    assert Load(9, 0).fills(8)
    assert not Load(10, 0).fills(8)


def test_a_connection_that_small_requests_share_weighs_as_much_as_a_large_request() -> None:
    assert Load(4, 0, 3).has_room(8, 128)
    assert not Load(4, 0, 4).has_room(8, 128)
    assert not Load(2, 0, 2).has_room(8, 4)
    assert Load(3, 0, 3).wants_small
    assert not Load(3, 0, 4).wants_small
    assert Load(1, 2, 3).connections == 6


def test_there_are_enough_small_requests_at_some_point_whatever_there_is_room_for() -> None:
    assert not Load(20, 0, 5).crowded
    assert Load(20, 0, 6).crowded
    assert not Load(20, 32, 0).crowded


def test_while_small_requests_share_connections_nothing_is_told_of_the_line() -> None:
    assert not Load(8, 0, 1).fills(8)
