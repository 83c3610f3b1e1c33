"""From the API server's objects to the facts that the plan uses."""

from __future__ import annotations

from typing import Any

from modelferry.controller.facts import PodFacts, claim_facts, node_facts, pod_facts
from modelferry.messages import Outcome
from modelferry.resource import names


def pod(**status: Any) -> PodFacts:
    meta = {
        "name": "chattts-fetch-1",
        "namespace": "speech",
        "uid": "u",
        "creationTimestamp": "2026-01-01T00:00:00Z",
        "labels": {names.LABEL_ROLE: "fetch"},
        "annotations": {names.ANNOTATION_NODE: "node-0", names.ANNOTATION_KEY: "k", names.ANNOTATION_ATTEMPT: "3"},
    }
    return pod_facts({"metadata": meta, "status": status}, "fetch")


def ended(name: str, code: int, message: str = "") -> dict[str, Any]:
    terminated = {"exitCode": code, "message": message, "finishedAt": "2026-01-01T00:01:00Z"}
    return {"name": name, "state": {"terminated": terminated}}


def test_a_pods_identity_comes_from_its_annotations() -> None:
    found = pod(phase="Pending")
    assert (found.role, found.node, found.key, found.attempt, found.created) == (
        "fetch",
        "node-0",
        "k",
        3,
        1767225600.0,
    )


def test_the_outcome_is_the_main_containers_termination_message() -> None:
    outcome = Outcome(False, "DigestMismatch", "stalled", "a.bin")
    found = pod(phase="Failed", containerStatuses=[ended("fetch", 3, outcome.encode())])
    assert (found.outcome, found.finished) == (outcome, 1767225660.0)


def test_a_killed_container_has_no_outcome_whatever_its_log_contains() -> None:
    found = pod(phase="Failed", containerStatuses=[ended("fetch", 137, '{"half": ')])
    assert found.outcome is None
    assert found.death is not None
    assert "exit code 137" in found.death.message


def test_a_claim_is_ours_by_its_owner_only() -> None:
    meta = {"name": "chattts", "labels": dict([names.MANAGED_BY]), "ownerReferences": [{"uid": "somebody"}]}
    assert not claim_facts({"metadata": meta}, "u-1").ours
    assert claim_facts({"metadata": meta | {"ownerReferences": [{"uid": "u-1"}]}}, "u-1").ours


def a_node(**changes: Any) -> dict[str, Any]:
    status = {"conditions": [{"type": "Ready", "status": "True", "lastHeartbeatTime": "now"}]}
    body = {"metadata": {"name": "node-0", "labels": {"gpu": "true"}}, "spec": {}, "status": status}
    return body | changes


def test_a_node_is_ready_by_its_condition() -> None:
    assert node_facts(a_node()).ready
    assert not node_facts(a_node(status={"conditions": [{"type": "Ready", "status": "Unknown"}]})).ready
