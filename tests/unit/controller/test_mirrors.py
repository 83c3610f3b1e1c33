"""What nodes see of mirrors, in the status and in Events."""

from __future__ import annotations

from typing import Any

import pytest

from modelferry.controller.mirror_status import listed, notices
from modelferry.controller.states import NodeState
from modelferry.messages import MirrorProgress, Outcome
from modelferry.resource.mirror import Mirror

MIRRORS = (Mirror("source", 2), Mirror("lab", 0), Mirror("far", 1))


def node(name: str, *mirrors: MirrorProgress) -> NodeState:
    return NodeState(name, "Downloading", mirrors=mirrors)


def test_the_worst_that_a_node_sees_is_told_with_how_many_see_it() -> None:
    fine, down = (
        MirrorProgress("lab", speed=5e6, fetched=10),
        MirrorProgress("lab", "Down", retries=3, message="was reset"),
    )
    found = listed([], MIRRORS, [node("a", fine), node("b", down), node("c", down)])
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
    found = listed([], MIRRORS, [node("a", *(MirrorProgress(name) for name in ("source", "far", "lab")))])
    assert [entry["name"] for entry in found] == ["lab", "far", "source"]


def test_what_no_node_speaks_of_stays_as_it_was_without_its_speed() -> None:
    before: list[dict[str, Any]] = [
        {"name": "lab", "state": "Quarantined", "nodes": 1, "perSecond": 9},
        {"name": "gone", "state": "Up"},
    ]
    assert listed(before, MIRRORS, [node("a")]) == [{"name": "lab", "state": "Quarantined", "nodes": 1}]


def looks(*attempts: list[tuple[MirrorProgress, ...]]) -> list[str]:
    """The Events of a node's mirrors, look by look, from one attempt to the next."""
    before: list[dict[str, Any]] = []
    told = []
    for views in (views for attempt in attempts for views in attempt):
        after = listed(before, MIRRORS, [node("a", *views)])
        told += [notice.reason for notice in notices(before, after)]
        before = after
    return told


def views(lab: str, far: str, fallbacks: int) -> tuple[MirrorProgress, ...]:
    """What a download says; a state with a question mark is one that it has not tried."""
    found = [
        MirrorProgress(name, state.rstrip("?"), untried=state.endswith("?"))
        for name, state in (("lab", lab), ("far", far))
    ]
    return *found, MirrorProgress("source", fallbacks=fallbacks, fetched=fallbacks)


WELL, FALLEN, BEGUN = views("Up", "Up", 0), views("Down", "Down", 1), views("Up?", "Up?", 0)


def test_a_fall_that_lasts_through_attempts_is_told_once() -> None:
    assert (
        looks([WELL, FALLEN], [BEGUN, FALLEN], [BEGUN, views("Down", "Up?", 0), FALLEN]).count("FellBackToSource") == 1
    )


def test_a_new_attempt_that_finds_the_mirrors_down_as_before_tells_nothing_at_all() -> None:
    assert looks([WELL, FALLEN], [BEGUN, FALLEN]) == looks([WELL, FALLEN])


def test_a_mirror_that_answers_a_new_attempt_is_back_and_the_next_fall_is_told_again() -> None:
    told = looks([WELL, FALLEN], [BEGUN, views("Up", "Down", 0), FALLEN])
    assert told.count("FellBackToSource") == 2
    assert told.index("MirrorRecovered") < len(told) - 1 - told[::-1].index("FellBackToSource")


def test_a_fall_within_one_attempt_is_told_though_nobody_saw_the_mirror_come_back() -> None:
    assert looks([WELL, FALLEN, views("Down", "Down", 2)]).count("FellBackToSource") == 2


def entry(name: str, state: str, **more: Any) -> dict[str, Any]:
    return {"name": name, "state": state, **more}


@pytest.mark.parametrize(
    ("before", "after", "reasons"),
    [
        ([], [entry("lab", "Up")], []),
        ([], [entry("lab", "Down")], ["MirrorDown"]),
        ([entry("lab", "Up")], [entry("lab", "Down")], ["MirrorDown"]),
        ([entry("lab", "Down")], [entry("lab", "Down")], []),
        ([entry("lab", "Down")], [entry("lab", "Recovering")], []),
        ([entry("lab", "Recovering")], [entry("lab", "Down")], []),
        ([entry("lab", "Recovering")], [entry("lab", "Up")], ["MirrorRecovered"]),
        ([entry("lab", "Down")], [entry("lab", "Up")], ["MirrorRecovered"]),
        ([entry("lab", "Up")], [entry("lab", "Quarantined")], ["MirrorQuarantined"]),
        ([entry("lab", "Quarantined")], [entry("lab", "Up")], []),
        ([entry("source", "Up")], [entry("source", "Up", fallbacks=1)], ["FellBackToSource"]),
        ([entry("source", "Up", fallbacks=1)], [entry("source", "Up", fallbacks=1)], []),
        ([entry("far", "Up")], [entry("far", "Up", fallbacks=1)], []),
    ],
)
def test_an_event_is_a_change_of_what_is_seen(
    before: list[dict[str, Any]], after: list[dict[str, Any]], reasons: list[str]
) -> None:
    assert [notice.reason for notice in notices(before, after)] == reasons


def test_how_mirrors_ended_travels_in_the_termination_message_and_gives_way_to_the_error() -> None:
    mirrors = tuple(MirrorProgress(f"mirror-{n}", "Quarantined", fetched=1 << 40, message="é" * 30) for n in range(16))
    outcome = Outcome(True, mirrors=mirrors[:4])
    assert Outcome.decode(outcome.encode()) == outcome
    long = Outcome(False, "DigestMismatch", "stalled", "ü" * 600, mirrors=mirrors)
    read = Outcome.decode(long.encode())
    assert len(long.encode()) <= 4096
    assert read is not None
    assert (read.reason, read.mirrors) == ("DigestMismatch", ())
