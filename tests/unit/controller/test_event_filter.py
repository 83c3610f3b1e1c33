"""Which artifacts an event concerns."""

from __future__ import annotations

from typing import Any

import pytest

from modelferry.controller.event_filter import EventFilter
from modelferry.messages import Outcome
from modelferry.resource import names

HEARTBEAT = {"conditions": [{"type": "Ready", "status": "True", "lastHeartbeatTime": "now"}]}
OWN = {names.ready_label("speech", "chattts"): "abc123", names.copy_label("speech", "other"): ""}


def a_node(labels: dict[str, str] | None = None, **changes: Any) -> dict[str, Any]:
    body = {"metadata": {"name": "node-0", "labels": {"gpu": "true"} | (labels or {})}, "spec": {}, "status": HEARTBEAT}
    return body | changes


def test_a_new_and_a_deleted_node_concern_every_artifact() -> None:
    events = EventFilter()
    assert events.node("ADDED", a_node()) is None
    assert events.node("DELETED", a_node()) is None
    assert events.node(None, a_node()) is None


@pytest.mark.parametrize(
    ("after", "concerned"),
    [
        (a_node(), set()),
        (a_node(status={"conditions": [{"type": "Ready", "status": "True", "lastHeartbeatTime": "later"}]}), set()),
        (a_node(OWN), {("speech", "chattts"), ("speech", "other")}),
        (a_node({"gpu": "false"}), None),
        (a_node(OWN | {"pool": "a"}), None),
        (a_node({"ready.modelferry.dev/chattts": "x"}), None),
        (a_node(spec={"taints": [{"key": "a", "effect": "NoSchedule"}]}), None),
        (a_node(status={"conditions": [{"type": "Ready", "status": "Unknown"}]}), None),
        (a_node(status=HEARTBEAT | {"nodeInfo": {"bootID": "b"}}), None),
    ],
)
def test_our_own_labels_concern_their_artifacts_and_what_placement_reads_all_of_them(
    after: dict[str, Any], concerned: set[tuple[str, str]] | None
) -> None:
    """Thirty artifacts on two nodes write 120 labels, and each concerned all thirty."""
    events = EventFilter()
    events.node(None, a_node())
    found = events.node("MODIFIED", after)
    assert found == (None if concerned is None else frozenset(concerned))
    assert events.node("MODIFIED", after) == frozenset()


def artifact(**meta: Any) -> dict[str, Any]:
    return {"metadata": {"uid": "u-1", "name": "chattts", "generation": 1} | meta}


def test_an_artifacts_spec_finalizers_and_deletion_concern_it_and_our_own_status_does_not() -> None:
    events = EventFilter()
    assert events.artifact("ADDED", artifact())
    assert not events.artifact("MODIFIED", artifact(resourceVersion="8") | {"status": {"checksum": "Pending"}})
    assert events.artifact("MODIFIED", artifact(finalizers=[names.FINALIZER]))
    assert events.artifact("MODIFIED", artifact(generation=2))
    assert events.artifact("MODIFIED", artifact(generation=2, deletionTimestamp="2026-01-01T00:00:00Z"))
    assert events.artifact("DELETED", artifact())
    assert events.artifact("ADDED", artifact(uid="u-2"))


def a_pod(
    phase: str, *, role: str = "fetch", share: str = "0", deleting: bool = False, **status: Any
) -> dict[str, Any]:
    meta: dict[str, Any] = {"name": "p", "namespace": "speech", "uid": "u", "labels": {names.LABEL_ROLE: role}}
    meta |= {"deletionTimestamp": "2026-01-01T00:00:00Z"} if deleting else {}
    return {"metadata": meta | {"annotations": {names.ANNOTATION_SHARE: share}}, "status": {"phase": phase} | status}


def ended(role: str, outcome: Outcome) -> dict[str, Any]:
    terminated = {"exitCode": 0, "finishedAt": "2026-01-01T00:01:00Z", "message": outcome.encode()}
    return {"containerStatuses": [{"name": role, "state": {"terminated": terminated}}]}


GOOD, BAD = Outcome(True), Outcome(False, "NotFound", "stalled", "404")
READY: dict[str, Any] = {"conditions": [{"type": "ContainersReady", "status": "True"}]}
PREEMPTED: dict[str, Any] = {
    "conditions": [{"type": "DisruptionTarget", "status": "True", "reason": "PreemptionByScheduler"}]
}


@pytest.mark.parametrize(
    ("before", "after", "concerned"),
    [
        (a_pod("Pending"), a_pod("Running"), True),
        (a_pod("Running"), a_pod("Running", **READY), False),
        (a_pod("Running"), a_pod("Running", share="1000"), False),
        (a_pod("Running"), a_pod("Running", **ended("fetch", GOOD)), True),
        (a_pod("Running", **ended("fetch", GOOD)), a_pod("Succeeded", **ended("fetch", GOOD)), False),
        (a_pod("Running", **ended("fetch", BAD)), a_pod("Failed", **ended("fetch", BAD)), True),
        (a_pod("Pending", role="prepare"), a_pod("Running", role="prepare", podIP="10.0.0.1"), False),
        (a_pod("Pending", role="prepare"), a_pod("Failed", role="prepare", reason="OutOfpods"), True),
        (a_pod("Running", role="prepare"), a_pod("Running", role="prepare", **ended("prepare", GOOD)), True),
        (a_pod("Running"), a_pod("Running", deleting=True), True),
        (a_pod("Running", deleting=True), a_pod("Failed", deleting=True, **ended("fetch", BAD)), False),
        (a_pod("Running", deleting=True), a_pod("Running", deleting=True, **PREEMPTED), True),
    ],
)
def test_only_what_a_plan_reads_of_a_pod_concerns_its_artifact(
    before: dict[str, Any], after: dict[str, Any], concerned: bool
) -> None:
    events = EventFilter()
    assert events.pod("ADDED", before)
    assert events.pod("MODIFIED", after) is concerned
    assert not events.pod("MODIFIED", after)
    assert events.pod("DELETED", after)


def test_a_claim_that_is_bound_concerns_its_artifact() -> None:
    events = EventFilter()
    claim: dict[str, Any] = {"metadata": {"name": "chattts", "uid": "u"}, "status": {"phase": "Pending"}}
    assert events.claim("ADDED", claim)
    assert not events.claim("MODIFIED", claim)
    assert events.claim("MODIFIED", claim | {"status": {"phase": "Bound"}})
