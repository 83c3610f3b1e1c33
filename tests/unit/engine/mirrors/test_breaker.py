"""The breaker, the choice among those that are well, and who is suspected of a wrong digest."""

from __future__ import annotations

from collections.abc import Callable

import pytest

from modelferry.engine.mirrors import (
    CLOSED,
    HALF_OPEN,
    OPEN,
    QUARANTINED,
    Candidate,
    CircuitBreaker,
    CorruptionAttribution,
    best,
    worthwhile,
)
from modelferry.engine.mirrors.breaker import FAILURES, FIRST_REST

FINE = CircuitBreaker()
DOWN = CircuitBreaker(OPEN, rest=4.0, until=14.0, opened=10.0, reason="was reset")
TRIED = CircuitBreaker(HALF_OPEN, rest=4.0, opened=10.0)
LIAR = CircuitBreaker(QUARANTINED, reason="served wrong bytes")


@pytest.mark.parametrize(
    ("before", "event", "after"),
    [
        (FINE, lambda h: h.failed(1.0, "x"), CLOSED),
        (CircuitBreaker(failures=FAILURES - 1), lambda h: h.failed(1.0, "x"), OPEN),
        (CircuitBreaker(failures=FAILURES - 1), lambda h: h.delivered().failed(1.0, "x"), CLOSED),
        (FINE, lambda h: h.probed(1.0, "", 30.0), CLOSED),
        (FINE, lambda h: h.probed(1.0, "x", 30.0), OPEN),
        (FINE, lambda h: h.tripped(1.0, "x"), OPEN),
        (DOWN, lambda h: h.failed(1.0, "x"), OPEN),
        (DOWN, lambda h: h.probed(14.0, "x", 30.0), OPEN),
        (DOWN, lambda h: h.probed(14.0, "", 30.0), HALF_OPEN),
        (DOWN, lambda h: h.delivered(11.0), HALF_OPEN),
        (DOWN, lambda h: h.delivered(9.0), OPEN),
        (TRIED, lambda h: h.delivered(9.0), HALF_OPEN),
        (TRIED, lambda h: h.failed(15.0, "x"), OPEN),
        (TRIED, lambda h: h.delivered(), CLOSED),
        (LIAR, lambda h: h.delivered(), QUARANTINED),
        (LIAR, lambda h: h.failed(1.0, "x"), QUARANTINED),
        (LIAR, lambda h: h.probed(1.0, "", 30.0), QUARANTINED),
        (LIAR, lambda h: h.tripped(1.0, "x"), QUARANTINED),
        (FINE, lambda h: h.quarantined("lied"), QUARANTINED),
    ],
)
def test_the_breaker(before: CircuitBreaker, event: Callable[[CircuitBreaker], CircuitBreaker], after: str) -> None:
    assert event(before).state == after


def test_probes_of_a_mirror_that_stays_down_grow_rarer_up_to_its_interval() -> None:
    health, now, waits = CircuitBreaker().tripped(0.0, "is gone"), 0.0, []
    for _ in range(7):
        waits.append(health.until - now)
        now = health.until
        health = health.probed(now, "is gone", 30.0)
    assert waits == [FIRST_REST, 2.0, 4.0, 8.0, 16.0, 30.0, 30.0]
    assert health.probed(now, "", 30.0).delivered() == CircuitBreaker()


def test_a_half_open_mirror_gets_one_try_at_a_time() -> None:
    assert [TRIED.may_ask(running) for running in (0, 1)] == [True, False]
    assert [FINE.may_ask(running) for running in (0, 9)] == [True, True]
    assert not DOWN.may_ask(0)
    assert not LIAR.may_ask(0)


def name_of(*candidates: Candidate) -> str:
    found = best(candidates)
    return found.name if found is not None else ""


def test_priority_goes_before_speed() -> None:
    fast, slow = Candidate("fast", 1, stream_rate=9e6, allowed=8), Candidate("slow", 0, stream_rate=1e3, allowed=8)
    assert name_of(fast, slow) == "slow"


def test_a_group_that_is_at_work_with_all_it_may_is_waited_for() -> None:
    assert name_of(Candidate("one", 0, running=8, allowed=8), Candidate("two", 1, allowed=8)) == ""


def test_each_of_a_group_gets_two_streams_and_then_those_whose_streams_bring_more() -> None:
    fast = Candidate("fast", 0, stream_rate=5e6, running=2, allowed=8)
    slow = Candidate("slow", 0, stream_rate=1e6, running=1, allowed=8)
    assert name_of(fast, slow) == "slow"
    assert name_of(fast, Candidate("slow", 0, stream_rate=1e6, running=2, allowed=8)) == "fast"
    assert name_of(Candidate("fast", 0, stream_rate=5e6, running=8, allowed=8), slow) == "slow"


def test_weight_multiplies_what_a_stream_brings() -> None:
    fast = Candidate("fast", 0, stream_rate=5e6, running=2, allowed=8)
    assert name_of(fast, Candidate("dear", 0, weight=10, stream_rate=1e6, running=2, allowed=8)) == "dear"
    unknown = [
        Candidate(name, 0, weight, running=running, allowed=8) for name, weight, running in (("a", 1, 2), ("b", 4, 6))
    ]
    assert name_of(*unknown) == "b"


def test_a_slow_mirror_begins_no_chunk_that_everybody_would_wait_for() -> None:
    slow, fast = Candidate("slow", 0, speed=1e6), Candidate("fast", 0, speed=40e6)
    assert worthwhile(slow, [fast], 16 << 20, waiting=1 << 30)
    assert not worthwhile(slow, [fast], 16 << 20, waiting=64 << 20)
    assert worthwhile(Candidate("new", 0), [fast], 16 << 20, waiting=0)
    full = Candidate("slow", 0, speed=1e6, due=3 * (16 << 20))
    assert not worthwhile(full, [fast], 16 << 20, waiting=1 << 30)
    assert worthwhile(full, [Candidate("fast", 0, speed=40e6, due=3 << 30)], 16 << 20, waiting=1 << 30)


class Story:
    """Chunks of one file, mirrors that lie about some of them, and an inquiry that goes on until the file is right."""

    def __init__(self, came_from: str, mirrors: str, lies: set[tuple[str, int]], wrong: bool = False) -> None:
        self.lies, self.mirrors, self.wrong = lies, mirrors, wrong
        self.bytes = [self.served(name, index) for index, name in enumerate(came_from)]
        self.attribution: CorruptionAttribution | None = CorruptionAttribution.of([(name, 1) for name in came_from])
        self.fetched = 0
        self.convicted = ""
        self.run()

    def served(self, name: str, index: int) -> str:
        return f"{name}'s lie" if (name, index) in self.lies else "right"

    def run(self) -> None:
        while self.attribution is not None and (following := self.attribution.next(self.mirrors)) is not None:
            self.attribution = following
            others = [name for name in self.mirrors if name != following.suspect]
            for turn, index in enumerate(sorted(following.round)):
                other = others[turn % len(others)]
                was, self.bytes[index] = self.bytes[index], self.served(other, index)
                self.attribution = self.attribution.arrived(index, other, was != self.bytes[index])
                self.fetched += 1
            if self.attribution.changed and set(self.bytes) == {"right"} and not self.wrong:
                self.convicted = following.suspect
                return


@pytest.mark.parametrize("liar", "ABC")
@pytest.mark.parametrize("chunks", [{3}, {0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13}])
def test_one_liar_of_three_is_found_and_the_file_comes_out_right(liar: str, chunks: set[int]) -> None:
    came_from = "ABBCCCC" * 2
    story = Story(came_from, "ABC", {(liar, index) for index in chunks})
    if any(came_from[index] == liar for index in chunks):
        assert story.convicted == liar
        assert set(story.bytes) == {"right"}
        assert story.fetched <= 2 * len(came_from)


@pytest.mark.parametrize("liar", "AB")
def test_one_liar_of_two_is_found(liar: str) -> None:
    story = Story("ABABAB", "AB", {(liar, index) for index in range(6)})
    assert (story.convicted, set(story.bytes)) == (liar, {"right"})


def test_a_wrong_declared_digest_costs_each_chunk_once_more_and_nobody_is_blamed() -> None:
    story = Story("AABBC", "ABC", set(), wrong=True)
    assert (story.convicted, story.fetched) == ("", 5)


def test_who_lied_before_is_suspected_first() -> None:
    following = CorruptionAttribution.of([("A", 1), ("B", 5)], ["B"]).next("AB")
    assert following is not None
    assert following.suspect == "B"


def test_with_nobody_else_to_ask_nobody_is_suspected() -> None:
    assert CorruptionAttribution.of([("A", 5)]).next("A") is None
    assert CorruptionAttribution.of([]).next("AB") is None
