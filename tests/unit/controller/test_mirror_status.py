"""What nodes report of mirrors, in the status, and the Events that follow."""

from __future__ import annotations

from typing import Any

from modelferry.controller.artifact_events import mirror_events
from modelferry.controller.mirror_status import merge
from modelferry.controller.step_result import CopyState
from modelferry.messages import MirrorProgress
from modelferry.resource.mirror import Mirror

MIRRORS = (Mirror("source", 2), Mirror("lab", 0), Mirror("far", 1))


def node(name: str, *mirrors: MirrorProgress) -> CopyState:
    return CopyState(name, "Downloading", mirrors=mirrors)


def test_the_worst_state_is_listed_with_the_number_of_nodes_that_report_it() -> None:
    fine, down = (
        MirrorProgress("lab", speed=5e6, fetched=10),
        MirrorProgress("lab", "Down", retries=3, message="was reset"),
    )
    found = merge([], MIRRORS, [node("a", fine), node("b", down), node("c", down)])
    assert found == [
        {
            "name": "lab",
            "state": "Down",
            "nodes": 2,
            "perSecond": 5000000,
            "bytes": 10,
            "retries": 6,
            "message": "was reset",
        }
    ]


def test_mirrors_are_listed_by_preference() -> None:
    found = merge([], MIRRORS, [node("a", *(MirrorProgress(name) for name in ("source", "far", "lab")))])
    assert [entry["name"] for entry in found] == ["lab", "far", "source"]


def test_a_mirror_that_no_node_reports_keeps_its_entry_without_its_speed() -> None:
    before: list[dict[str, Any]] = [
        {"name": "lab", "state": "Quarantined", "nodes": 1, "perSecond": 9},
        {"name": "gone", "state": "Up"},
    ]
    assert merge(before, MIRRORS, [node("a")]) == [{"name": "lab", "state": "Quarantined", "nodes": 1}]


def announced(*attempts: list[tuple[MirrorProgress, ...]]) -> list[str]:
    """The Events of a node's mirrors, report by report, from one attempt to the next."""
    before: list[dict[str, Any]] = []
    told = []
    for views in (views for attempt in attempts for views in attempt):
        after = merge(before, MIRRORS, [node("a", *views)])
        told += [event.reason for event in mirror_events(before, after)]
        before = after
    return told


def views(lab: str, far: str, fallbacks: int) -> tuple[MirrorProgress, ...]:
    """What a download reports; a state with a question mark is one that it has not tried."""
    found = [
        MirrorProgress(name, state.rstrip("?"), untried=state.endswith("?"))
        for name, state in (("lab", lab), ("far", far))
    ]
    return *found, MirrorProgress("source", fallbacks=fallbacks, fetched=fallbacks)


HEALTHY, FALLEN_BACK, STARTED = views("Up", "Up", 0), views("Down", "Down", 1), views("Up?", "Up?", 0)


def test_a_fallback_that_lasts_through_attempts_is_announced_once() -> None:
    third = [STARTED, views("Down", "Up?", 0), FALLEN_BACK]
    assert announced([HEALTHY, FALLEN_BACK], [STARTED, FALLEN_BACK], third).count("FellBackToSource") == 1


def test_a_new_attempt_that_finds_the_same_mirrors_down_announces_nothing() -> None:
    assert announced([HEALTHY, FALLEN_BACK], [STARTED, FALLEN_BACK]) == announced([HEALTHY, FALLEN_BACK])


def test_a_mirror_that_answers_a_new_attempt_has_recovered_and_the_next_fallback_is_announced() -> None:
    told = announced([HEALTHY, FALLEN_BACK], [STARTED, views("Up", "Down", 0), FALLEN_BACK])
    assert told.count("FellBackToSource") == 2
    assert told.index("MirrorRecovered") < len(told) - 1 - told[::-1].index("FellBackToSource")


def test_a_second_fallback_within_one_attempt_is_announced_without_a_reported_recovery() -> None:
    assert announced([HEALTHY, FALLEN_BACK, views("Down", "Down", 2)]).count("FellBackToSource") == 2
