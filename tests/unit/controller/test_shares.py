"""How the cluster's bandwidth is shared out: fairly, and never more than there is."""

from __future__ import annotations

from random import Random

from modelferry.controller.bandwidth_allocation import Claimant, fair, grants


def test_equal_shares_where_all_could_use_anything() -> None:
    assert fair(900, {"a": None, "b": None, "c": None}) == {"a": 300, "b": 300, "c": 300}


def test_what_a_modest_one_does_not_need_goes_to_the_others() -> None:
    assert fair(900, {"a": 100, "b": None, "c": 350}) == {"a": 100, "c": 350, "b": 450}


def test_all_get_what_they_want_where_there_is_enough() -> None:
    assert fair(900, {"a": 100, "b": 0, "c": 350}) == {"a": 100, "b": 0, "c": 350}


def test_a_new_one_gets_nothing_until_the_others_have_let_go() -> None:
    old, new = Claimant("old", None, 900, 900), Claimant("new", None, 0, 0)
    assert grants(900, [old, new]) == {"old": 450, "new": 0}
    told = Claimant("old", None, 450, 900)
    assert grants(900, [told, new]) == {"old": 450, "new": 0}
    assert grants(900, [Claimant("old", None, 450, 450), new]) == {"old": 450, "new": 450}


def test_a_new_one_gets_what_is_free_at_once() -> None:
    assert grants(900, [Claimant("old", 300, 300, 300), Claimant("new", None, 0, 0)]) == {"old": 300, "new": 600}


def test_the_share_of_one_that_ended_goes_to_the_rest() -> None:
    assert grants(900, [Claimant("a", None, 300, 300), Claimant("b", None, 300, 300)]) == {"a": 450, "b": 450}


def test_nothing_is_free_while_somebody_still_works_without_a_limit() -> None:
    wild, new = Claimant("wild", None, None, None), Claimant("new", None, 0, 0)
    assert grants(900, [wild, new]) == {"wild": 450, "new": 0}


def test_whatever_happens_the_sum_of_what_is_used_stays_within_the_total() -> None:
    chance = Random(5)
    for _ in range(300):
        total, claimants = chance.randrange(10, 1000), dict[str, Claimant]()
        for turn in range(40):
            if chance.random() < 0.3:
                most = chance.choice([None, 0, chance.randrange(1, 500)])
                claimants[f"p{turn}"] = Claimant(f"p{turn}", most, 0, 0)
            if claimants and chance.random() < 0.2:
                del claimants[chance.choice(sorted(claimants))]
            shares = grants(total, list(claimants.values()))
            for name, share in shares.items():
                # Each hears of its share sooner or later; a rise that is heard of late harms nobody.
                heard = chance.random() < 0.5
                one = claimants[name]
                claimants[name] = Claimant(name, one.most, share, share if heard else one.used)
            assert sum(max(one.used or 0, one.granted or 0) for one in claimants.values()) <= total
        settled = list(claimants.values())
        for _ in range(3):
            shares = grants(total, settled)
            settled = [Claimant(one.name, one.most, shares[one.name], shares[one.name]) for one in settled]
        assert shares == fair(total, {one.name: one.most for one in settled})
