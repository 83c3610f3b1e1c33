"""The allocation of the cluster's bandwidth: fair, and never more than the total."""

from __future__ import annotations

from random import Random

from modelferry.controller.bandwidth_allocation import Consumer, allocate, max_min_shares


def test_shares_are_equal_without_limits() -> None:
    assert max_min_shares(900, {"a": None, "b": None, "c": None}) == {"a": 300, "b": 300, "c": 300}


def test_what_a_small_demand_leaves_goes_to_the_others() -> None:
    assert max_min_shares(900, {"a": 100, "b": None, "c": 350}) == {"a": 100, "c": 350, "b": 450}


def test_all_demands_are_met_if_there_is_enough() -> None:
    assert max_min_shares(900, {"a": 100, "b": 0, "c": 350}) == {"a": 100, "b": 0, "c": 350}


def test_a_new_download_gets_nothing_until_the_others_have_released_bandwidth() -> None:
    old, new = Consumer("old", None, 900, 900), Consumer("new", None, 0, 0)
    assert allocate(900, [old, new]) == {"old": 450, "new": 0}
    cut = Consumer("old", None, 450, 900)
    assert allocate(900, [cut, new]) == {"old": 450, "new": 0}
    assert allocate(900, [Consumer("old", None, 450, 450), new]) == {"old": 450, "new": 450}


def test_a_new_download_gets_free_bandwidth_immediately() -> None:
    assert allocate(900, [Consumer("old", 300, 300, 300), Consumer("new", None, 0, 0)]) == {"old": 300, "new": 600}


def test_the_share_of_an_ended_download_goes_to_the_others() -> None:
    assert allocate(900, [Consumer("a", None, 300, 300), Consumer("b", None, 300, 300)]) == {"a": 450, "b": 450}


def test_nothing_is_free_while_a_download_still_has_no_limit() -> None:
    unlimited, new = Consumer("unlimited", None, None, None), Consumer("new", None, 0, 0)
    assert allocate(900, [unlimited, new]) == {"unlimited": 450, "new": 0}


def test_the_sum_of_shares_in_use_never_exceeds_the_total() -> None:
    chance = Random(5)
    for _ in range(300):
        total, claimants = chance.randrange(10, 1000), dict[str, Consumer]()
        for turn in range(40):
            if chance.random() < 0.3:
                most = chance.choice([None, 0, chance.randrange(1, 500)])
                claimants[f"p{turn}"] = Consumer(f"p{turn}", most, 0, 0)
            if claimants and chance.random() < 0.2:
                del claimants[chance.choice(sorted(claimants))]
            shares = allocate(total, list(claimants.values()))
            for name, share in shares.items():
                # Each applies its share sooner or later.
                applied = chance.random() < 0.5
                one = claimants[name]
                claimants[name] = Consumer(name, one.limit, share, share if applied else one.in_use)
            assert sum(max(one.in_use or 0, one.share or 0) for one in claimants.values()) <= total
        settled = list(claimants.values())
        for _ in range(3):
            shares = allocate(total, settled)
            settled = [Consumer(one.name, one.limit, shares[one.name], shares[one.name]) for one in settled]
        assert shares == max_min_shares(total, {one.name: one.limit for one in settled})
