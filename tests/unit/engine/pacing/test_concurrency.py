"""How many connections a download uses."""

from __future__ import annotations

import re
from dataclasses import replace
from random import Random

import pytest

from modelferry.engine.pacing import ConcurrencyController
from modelferry.engine.pacing.concurrency import (
    INITIAL,
    LINEAR_SHARE,
    MAX_REST,
    MISFIT,
    REQUIRED_GAIN,
    REST,
    Growth,
    Search,
)


def watch(concurrency: ConcurrencyController, rate: float, seconds: float, begin: float = 0.0) -> ConcurrencyController:
    """With `rate` bytes per second for each connection, observed every 0.25 s."""
    received = 0.0
    for step in range(int(seconds * 4)):
        received += concurrency.allowed * rate / 4
        concurrency = concurrency.observe(begin + step / 4, int(received), True)
    return concurrency


def test_the_number_doubles_while_that_improves_throughput_up_to_the_limit() -> None:
    assert ConcurrencyController.start(100).allowed == 8
    assert watch(ConcurrencyController.start(100), 1e6, 0.75).allowed == 16
    assert watch(ConcurrencyController.start(100), 1e6, 10.0).allowed == 100
    assert watch(ConcurrencyController.start(3), 1e6, 10.0).allowed == 3


@pytest.mark.parametrize(("rtt", "count"), [(0.0002, 8), (0.02, 8), (0.05, 17), (0.18, 61), (0.6, 64)])
def test_the_longer_the_round_trip_the_more_connections_at_the_start(rtt: float, count: int) -> None:
    assert ConcurrencyController.start(128).record_round_trip(rtt).allowed == count
    assert ConcurrencyController.start(16).record_round_trip(rtt).allowed == min(count, 16)


def test_only_the_first_round_trip_sets_the_initial_number() -> None:
    concurrency = ConcurrencyController.start(128).record_round_trip(0.02).record_round_trip(0.4)
    assert (concurrency.allowed, concurrency.rtt) == (8, 0.02)


def test_a_server_that_is_busy_at_once_gets_as_few_connections_as_a_near_one() -> None:
    assert ConcurrencyController.start(128).record_round_trip(0.18).record_busy(0.0).allowed == 4


def test_more_connections_that_do_not_improve_throughput_are_closed_again() -> None:
    concurrency = ConcurrencyController.start(64)
    seen = set()
    for step in range(40):
        concurrency = concurrency.observe(step / 4, int(step * 2.5e6), True)
        seen.add(concurrency.allowed)
    assert seen == {8, 16, 10}  # A doubling that failed; later, and seldom, a quarter more.
    assert concurrency.base == 8


def test_after_a_doubling_that_nearly_doubles_the_rate_the_next_one_follows_soon() -> None:
    concurrency, received = ConcurrencyController.start(128), 0.0
    begun: dict[int, float] = {}
    for step in range(200):
        concurrency = concurrency.observe(step / 50, int(received), True)
        begun.setdefault(concurrency.allowed, step / 50)
        received += concurrency.allowed * 1e6 / 50
    assert begun[16] == pytest.approx(0.5, abs=0.05)
    assert begun[64] - begun[32] < 0.4


def test_one_misfit_is_not_a_changed_path_but_two_in_a_row_are() -> None:
    full = watch(ConcurrencyController.start(8), 1e6, 2.0)
    assert (full.base_rate, full.rest_until > 60.0) == (8e6, True)
    begin = full.measured_from[0] if full.measured_from else 0.0
    stalled = full.observe(begin + 1.0, int(full.measured_from[1] if full.measured_from else 0), True)
    assert (stalled.base_rate, stalled.rest_until) == (8e6, full.rest_until)
    received = int(stalled.measured_from[1] if stalled.measured_from else 0)
    slower = stalled.observe(begin + 2.0, received + 1_000_000, True)
    assert (slower.base_rate, slower.rest_until) == (1e6, begin + 2.0), "fewer are tried at once"


def test_it_returns_when_it_has_something_to_do_next() -> None:
    concurrency = ConcurrencyController.start(16)
    assert concurrency.next_observation is None
    concurrency = concurrency.observe(10.0, 0, True)
    assert concurrency.next_observation == 10.25
    concurrency = concurrency.observe(10.25, 0, True)
    assert concurrency.next_observation == 10.5
    assert concurrency.observe(10.5, 1_000_000, True).allowed == 16


def test_a_path_that_is_not_full_changes_nothing() -> None:
    concurrency = ConcurrencyController.start(64)
    for step in range(40):
        concurrency = concurrency.observe(step / 4, step * 1000, False)
    assert concurrency == ConcurrencyController.start(64)


def test_a_busy_server_gets_half_as_many_connections() -> None:
    concurrency = ConcurrencyController.start(16).record_busy(0.0)
    assert concurrency.allowed == 4
    for second in range(10):
        concurrency = concurrency.record_busy(10.0 * second)
    assert concurrency.allowed == 1


def test_several_busy_responses_at_once_count_once() -> None:
    assert ConcurrencyController.start(16).record_busy(5.0).record_busy(5.1).record_busy(5.9).allowed == 4


def test_a_busy_response_to_a_trial_reverts_the_trial() -> None:
    trial = watch(ConcurrencyController.start(64), 1e6, 0.75)
    assert (trial.base, trial.allowed) == (8, 16)
    assert trial.record_busy(1.0).allowed == 8


def test_the_number_before_a_busy_response_is_reached_again_after_a_rest() -> None:
    concurrency = ConcurrencyController.start(16).record_busy(0.0)
    assert watch(concurrency, 1e6, 4.0).allowed == 4
    assert watch(concurrency, 1e6, 40.0).allowed == 16


# The tables in the docstring of `ConcurrencyController`.

NOW, BASE_RATE = 1000.0, 1e6


def table(first_column: str) -> list[list[str]]:
    """The cells of the rows of a table, without its head."""
    lines = (ConcurrencyController.__doc__ or "").splitlines()
    begin = next(number for number, line in enumerate(lines) if line.split()[:1] == [first_column])
    end = next(number for number in range(begin, len(lines)) if not lines[number].strip())
    return [re.split(r"\s{2,}", line.strip()) for line in lines[begin + 2 : end]]


def before(search: Search, growth: Growth = Growth.DOUBLING, *conditions: str) -> ConcurrencyController:
    """Before a window ends at `NOW`, as the words of the tables say."""
    base = INITIAL + 1 if "few" in conditions else 64
    allowed = {Search.TRY_MORE: 2 * base, Search.TRY_MORE_ON_CHANGED_PATH: 2 * base, Search.TRY_FEWER: base - 1}
    found = ConcurrencyController(256, allowed.get(search, base), base, BASE_RATE, search, growth)
    found = replace(found, rest=4 * REST, rest_until=NOW, measured_from=(NOW - 30.0, 0))
    found = replace(found, settling_since=NOW - 31.0, busy_until=1.0 if "was busy" in conditions else None)
    if "at most" in conditions:
        found = replace(found, most=found.allowed)
    if "longest" in conditions or "shortest rest" in conditions:
        found = replace(found, rest=MAX_REST if "longest" in conditions else REST)
    return replace(found, rest_until=NOW + 1000.0) if "resting" in conditions else found


def after(controller: ConcurrencyController, gain: float) -> ConcurrencyController:
    """After the window, whose rate is `gain` times the base rate."""
    return controller.observe(NOW, round(gain * BASE_RATE * 30.0), True)


GAINS = {
    "fits": 1.1,
    "misfit": 1.1 * MISFIT,
    "2nd misfit": 1 / MISFIT / 1.1,
    "gains": 1.2,
    "does not gain": 1.01,
    "keeps the rate": 0.98,
    "loses": 0.9,
}


@pytest.mark.parametrize("row", table("search"), ids=lambda row: ": ".join(row[:2]))
def test_the_search_changes_as_its_table_says(row: list[str]) -> None:
    state, window, expected, *consequence = row
    what, *conditions = window.split(", ")
    begun = before(Search[state], Growth.DOUBLING, *conditions)
    begun = replace(begun, misfits=1) if what == "2nd misfit" else begun
    ended = after(begun, GAINS[what])
    assert ended.search is Search[expected]
    assert ended.search.is_trial == (ended.allowed != ended.base)
    match consequence:
        case ["the longest rest"]:
            assert ended.rest_until == NOW + MAX_REST
        case ["no rest"]:
            assert ended.rest_until == NOW
        case ["it rests"]:
            assert ended.rest_until == begun.rest_until > NOW
        case ["base again, a longer rest"]:
            assert (ended.allowed, ended.rest_until, ended.rest) == (begun.base, NOW + begun.rest, 2 * begun.rest)
        case ["base again, the longest rest"]:
            assert (ended.allowed, ended.rest_until, ended.rest) == (begun.base, NOW + MAX_REST, MAX_REST)


def apply(event: str, growth: Growth) -> ConcurrencyController:
    """The controller after an event of the table of growth."""
    what, *conditions = event.split(", ")
    trial, required = before(Search.TRY_MORE, growth, *conditions), REQUIRED_GAIN[growth.factor]
    match what:
        case "gains linearly":
            return after(trial, 2 * LINEAR_SHARE + 0.01)
        case "gains":
            return after(trial, required + 0.01)
        case "gains a lot":
            return after(trial, 1.2)
        case "does not gain":
            return after(trial, required - 0.01)
        case "fewer are tried":
            return after(before(Search.HOLD_THEN_FEWER, growth), 1.0)
        case "the path changes":
            return after(replace(before(Search.HOLD, growth, *conditions), misfits=1), 2.0)
        case "a busy response":
            return trial.record_busy(NOW)
    raise AssertionError(f"the table has an unknown event: {event}")


@pytest.mark.parametrize("row", table("growth"), ids=lambda row: ": ".join(row[:2]))
def test_the_number_grows_as_its_table_says(row: list[str]) -> None:
    state, event, expected = row
    for growth in Growth if state == "any" else (Growth[state],):
        assert apply(event, growth).growth is Growth[expected]


def test_no_other_transition_ever_happens() -> None:
    allowed = {(row[0], row[2]) for row in table("search")}
    seen = set()
    for seed in range(60):
        random = Random(seed)
        controller = ConcurrencyController.start(random.choice((8, 9, 16, 64, 128)), random.choice((1, 2)))
        controller = controller.record_round_trip(random.choice((0.001, 0.05, 0.2)))
        now, received, capacity = 0.0, 0.0, 1e7
        for _ in range(2000):
            capacity = 10 ** random.uniform(5, 8) if random.random() < 0.005 else capacity
            now += 0.25
            received += 0.25 * min(capacity, 1e6 * controller.allowed) * random.uniform(0.95, 1.0)
            following = controller.observe(now, int(received), random.random() > 0.005)
            if following.search is not controller.search:
                seen.add((controller.search.name, following.search.name))
            controller = following
            assert controller.search.is_trial == (controller.allowed != controller.base)
    assert seen <= allowed
    assert len(seen) >= 8, "the random paths do not lead far any more"


def test_a_busy_response_ends_every_trial() -> None:
    for search in Search:
        assert before(search).record_busy(NOW).search is Search.HOLD
