"""Status, conditions and Events, from plans."""

from __future__ import annotations

from typing import Any

from modelferry.controller import report
from modelferry.controller.states import Blocker, NodeState, Plan
from unit.controller.objects import MANIFEST, NOW, document, observed


def status(*states: NodeState, before: dict[str, Any] | None = None, hold: Blocker | None = None) -> dict[str, Any]:
    body = document()
    if before is not None:
        body["status"] = before
    manifest = MANIFEST if states else None
    return report.status(observed(body), Plan(states=states, hold=hold, manifest=manifest), NOW)


def conditions(body: dict[str, Any]) -> dict[str, tuple[str, str]]:
    return {c["type"]: (c["status"], c["reason"]) for c in body["conditions"]}


READY_0 = NodeState("node-0", "Ready", done=1000, verified=1000, total=1000, checksum="Verified")
READY_1 = NodeState("node-1", "Ready", done=1000, verified=1000, total=1000, checksum="Verified")
HALF_1 = NodeState(
    "node-1", "Downloading", "Downloading", done=500, verified=400, total=1000, speed=52_428_800.0, eta=23.0
)
FULL_1 = NodeState("node-1", "Stalled", "InsufficientSpace", "node-1 is short 1 GiB", total=1000)


def test_all_copies_whole_is_ready_and_nothing_else() -> None:
    body = status(READY_0, READY_1)
    assert conditions(body) == {"Ready": ("True", "Verified")}
    assert body["summary"] == {"nodes": "2/2", "progress": "100%"}
    assert body["checksum"] == "Verified"


def test_a_download_is_reconciling_with_amounts_for_the_columns() -> None:
    body = status(READY_0, HALF_1)
    assert conditions(body) == {"Ready": ("False", "Downloading"), "Reconciling": ("True", "Downloading")}
    assert body["summary"] == {"nodes": "1/2", "progress": "75%", "speed": "50.0MiB/s", "eta": "23s"}
    assert body["bytes"] == {"done": 1500, "verified": 1400, "total": 2000, "percent": 75, "perSecond": 52_428_800}
    assert body["conditions"][0]["message"] == "Downloading on node-1"
    assert body["checksum"] == "Pending"


def test_a_stalled_node_shows_at_once_while_the_other_goes_on() -> None:
    body = status(NodeState("node-0", "Downloading", "Downloading", total=1000), FULL_1)
    assert conditions(body) == {
        "Ready": ("False", "InsufficientSpace"),
        "Reconciling": ("True", "Downloading"),
        "Stalled": ("True", "InsufficientSpace"),
    }
    assert [copy["name"] for copy in body["copies"]] == ["node-1", "node-0"]


def test_only_stalled_copies_left_is_not_reconciling() -> None:
    assert set(conditions(status(READY_0, FULL_1))) == {"Ready", "Stalled"}


def test_every_condition_carries_the_generation_that_it_speaks_of() -> None:
    body = status(READY_0, FULL_1)
    assert {c["observedGeneration"] for c in body["conditions"]} == {1} == {body["observedGeneration"]}


def test_the_transition_time_moves_only_with_the_status() -> None:
    before = status(HALF_1)
    before["conditions"][0]["lastTransitionTime"] = "2020-01-01T00:00:00Z"
    assert status(FULL_1, before=before)["conditions"][0]["lastTransitionTime"] == "2020-01-01T00:00:00Z"
    assert status(READY_1, before=before)["conditions"][0]["lastTransitionTime"] != "2020-01-01T00:00:00Z"


def test_the_same_facts_make_no_difference_to_write() -> None:
    before = status(READY_0, READY_1)
    before["conditions"][0]["lastTransitionTime"] = "2020-01-01T00:00:00Z"
    assert not report.differs(before, status(READY_0, READY_1, before=before))
    assert report.differs(before, status(READY_0, HALF_1, before=before))


def test_amounts_alone_are_no_turn_but_a_state_is() -> None:
    more = NodeState("node-1", "Downloading", "Downloading", done=600, total=1000)
    assert report.differs(status(HALF_1), status(more))
    assert not report.turned(status(HALF_1), status(more))
    assert report.turned(status(HALF_1), status(READY_1))


def test_a_new_source_that_is_being_resolved_keeps_what_the_model_was() -> None:
    before = status(READY_0, READY_1)
    body = status(before=before, hold=Blocker("Resolving", "asking"))
    assert body["revision"] == MANIFEST.revision
    assert conditions(body)["Reconciling"] == ("True", "Resolving")


def test_the_list_of_copies_is_bounded_and_shows_the_failing_first() -> None:
    many = [NodeState(f"n-{i:03}", "Ready", done=1, total=1) for i in range(500)]
    body = status(*many, FULL_1)
    assert len(body["copies"]) == report.MAX_COPIES
    assert body["copies"][0]["name"] == "node-1"
    assert body["nodes"] == {"total": 501, "ready": 500, "stalled": 1}


def test_the_whole_becoming_ready_and_a_copy_stalling_are_told_once() -> None:
    half, full, ready = status(READY_0, HALF_1), status(READY_0, FULL_1), status(READY_0, READY_1)
    assert [(n.reason, n.warning) for n in report.notices(half, full)] == [("InsufficientSpace", True)]
    assert report.notices(full, full) == []
    assert [(n.reason, n.warning) for n in report.notices(full, ready)] == [("Ready", False)]


def test_a_stalled_hold_is_told_by_its_reason() -> None:
    body = status(hold=Blocker("ClaimMissing", "claim models is not there", stalled=True))
    assert [(n.reason, n.message) for n in report.notices({}, body)] == [("ClaimMissing", "claim models is not there")]


def test_what_the_api_server_refuses_is_told_once() -> None:
    body = status(hold=Blocker("Refused", "the API server refuses what is needed: 403: exceeded quota"))
    assert conditions(body)["Reconciling"] == ("True", "Refused")
    assert [(n.reason, n.warning) for n in report.notices({}, body)] == [("Refused", True)]
    assert report.notices(body, body) == []
