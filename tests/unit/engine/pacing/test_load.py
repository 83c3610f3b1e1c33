"""Small requests beside large ones."""

from __future__ import annotations

from modelferry.engine.pacing import Load


def test_four_small_requests_count_as_a_large_one() -> None:
    assert Load(7, 3).has_capacity(8, 128)
    assert not Load(7, 4).has_capacity(8, 128)
    assert Load(0, 31).has_capacity(8, 128)
    assert not Load(0, 32).has_capacity(8, 128)


def test_small_requests_use_no_more_connections_than_are_allowed_nor_than_help() -> None:
    assert not Load(4, 4).has_capacity(8, 8)
    assert Load(0, 31).has_capacity(16, 128)
    assert not Load(0, 32).has_capacity(16, 128)
    assert Load(100, 0).has_capacity(128, 128)


def test_small_and_large_requests_have_half_each() -> None:
    load, order = Load(0, 0), ""
    while load.has_capacity(2, 128):
        small = load.prefers_small
        load = Load(load.large + (not small), load.small + small)
        order += "s" if small else "L"
    assert order == "sLsss"


def test_small_requests_alone_do_not_measure_the_path() -> None:
    assert Load(8, 0).is_representative(8)
    assert Load(4, 16).is_representative(8)
    assert not Load(0, 32).is_representative(8)
    assert not Load(7, 0).is_representative(8)


def test_a_few_excess_connections_still_measure_the_path() -> None:
    assert Load(9, 0).is_representative(8)
    assert not Load(10, 0).is_representative(8)


def test_a_connection_with_pipelined_requests_counts_as_a_large_request() -> None:
    assert Load(4, 0, 3).has_capacity(8, 128)
    assert not Load(4, 0, 4).has_capacity(8, 128)
    assert not Load(2, 0, 2).has_capacity(8, 4)
    assert Load(3, 0, 3).prefers_small
    assert not Load(3, 0, 4).prefers_small
    assert Load(1, 2, 3).connections == 6


def test_there_are_enough_small_requests_at_some_point_whatever_capacity_is_left() -> None:
    assert not Load(20, 0, 5).has_enough_small
    assert Load(20, 0, 6).has_enough_small
    assert not Load(20, 32, 0).has_enough_small


def test_while_small_requests_are_pipelined_the_path_is_not_measured() -> None:
    assert not Load(8, 0, 1).is_representative(8)
