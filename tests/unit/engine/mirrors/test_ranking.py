"""Which of several mirrors gets the next part."""

from __future__ import annotations

from modelferry.engine.mirrors.ranking import Candidate, best_candidate, would_finish_late


def name_of(*candidates: Candidate) -> str:
    found = best_candidate(candidates)
    return found.name if found is not None else ""


def test_priority_goes_before_speed() -> None:
    fast, slow = Candidate("fast", 1, stream_rate=9e6, allowed=8), Candidate("slow", 0, stream_rate=1e3, allowed=8)
    assert name_of(fast, slow) == "slow"


def test_a_group_with_all_allowed_connections_in_use_is_waited_for() -> None:
    assert name_of(Candidate("one", 0, running=8, allowed=8), Candidate("two", 1, allowed=8)) == ""


def test_each_of_a_group_gets_two_streams_and_then_those_with_faster_streams() -> None:
    fast = Candidate("fast", 0, stream_rate=5e6, running=2, allowed=8)
    slow = Candidate("slow", 0, stream_rate=1e6, running=1, allowed=8)
    assert name_of(fast, slow) == "slow"
    assert name_of(fast, Candidate("slow", 0, stream_rate=1e6, running=2, allowed=8)) == "fast"
    assert name_of(Candidate("fast", 0, stream_rate=5e6, running=8, allowed=8), slow) == "slow"


def test_weight_multiplies_the_rate_of_a_stream() -> None:
    fast = Candidate("fast", 0, stream_rate=5e6, running=2, allowed=8)
    assert name_of(fast, Candidate("favored", 0, weight=10, stream_rate=1e6, running=2, allowed=8)) == "favored"
    unknown = [
        Candidate(name, 0, weight, running=running, allowed=8) for name, weight, running in (("a", 1, 2), ("b", 4, 6))
    ]
    assert name_of(*unknown) == "b"


def test_a_slow_mirror_begins_no_chunk_that_the_download_would_wait_for() -> None:
    slow, fast = Candidate("slow", 0, rate=1e6), Candidate("fast", 0, rate=40e6)
    assert not would_finish_late(slow, [fast], 16 << 20, waiting=1 << 30)
    assert would_finish_late(slow, [fast], 16 << 20, waiting=64 << 20)
    assert not would_finish_late(Candidate("new", 0), [fast], 16 << 20, waiting=0)
    full = Candidate("slow", 0, rate=1e6, due=3 * (16 << 20))
    assert would_finish_late(full, [fast], 16 << 20, waiting=1 << 30)
    assert not would_finish_late(full, [Candidate("fast", 0, rate=40e6, due=3 << 30)], 16 << 20, waiting=1 << 30)
