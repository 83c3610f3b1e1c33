"""Which artifacts an event concerns."""

from __future__ import annotations

from typing import Any

import pytest

from modelferry.controller.event_filter import EventFilter
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


def a_pod(phase: str, *, share: str = "0", **status: Any) -> dict[str, Any]:
    meta = {"name": "p", "namespace": "speech", "uid": "u", "labels": {names.LABEL_ROLE: "fetch"}}
    return {"metadata": meta | {"annotations": {names.ANNOTATION_SHARE: share}}, "status": {"phase": phase} | status}


def test_a_pod_that_starts_or_ends_concerns_its_artifact_and_a_condition_or_a_share_does_not() -> None:
    events = EventFilter()
    ready = [{"type": "ContainersReady", "status": "True"}]
    terminated = {"exitCode": 0, "finishedAt": "2026-01-01T00:01:00Z"}
    ended = [{"name": "fetch", "state": {"terminated": terminated}}]
    assert events.pod("ADDED", a_pod("Pending"))
    assert events.pod("MODIFIED", a_pod("Running"))
    assert not events.pod("MODIFIED", a_pod("Running", conditions=ready))
    assert not events.pod("MODIFIED", a_pod("Running", share="1000"))
    assert events.pod("MODIFIED", a_pod("Running", containerStatuses=ended))
    assert events.pod("DELETED", a_pod("Running"))


def test_a_claim_that_is_bound_concerns_its_artifact() -> None:
    events = EventFilter()
    claim: dict[str, Any] = {"metadata": {"name": "chattts", "uid": "u"}, "status": {"phase": "Pending"}}
    assert events.claim("ADDED", claim)
    assert not events.claim("MODIFIED", claim)
    assert events.claim("MODIFIED", claim | {"status": {"phase": "Bound"}})
