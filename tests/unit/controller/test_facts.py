"""From the API server's objects to the facts that the plan uses."""

from __future__ import annotations

from typing import Any

import pytest

from modelferry.controller.facts import (
    ArtifactFacts,
    PodFacts,
    claim_facts,
    consumer_facts,
    node_facts,
    pod_facts,
)
from modelferry.controller.observe import consumer_of
from modelferry.messages import Outcome
from modelferry.resource import names
from unit.controller.objects import document, observed


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


START, SANDBOX = "2026-01-01T00:00:10Z", "2026-01-01T00:00:12Z"
SANDBOX_READY = {"type": "PodReadyToStartContainers", "status": "True", "lastTransitionTime": SANDBOX}
CRASHED = {"state": {"running": {"startedAt": "2026-01-01T00:09:00Z"}},
           "lastState": {"terminated": {"startedAt": "2026-01-01T00:00:13Z"}}}  # fmt: skip


@pytest.mark.parametrize(
    ("status", "sub_path", "window"),
    [
        ({}, False, (0, None)),
        ({"startTime": START}, False, (10, None)),
        ({"startTime": START, "conditions": [SANDBOX_READY | {"status": "False"}]}, False, (10, None)),
        ({"startTime": START, "conditions": [SANDBOX_READY]}, False, (10, 12)),
        ({"startTime": START, "conditions": [SANDBOX_READY], "containerStatuses": [CRASHED]}, False, (10, 12)),
        ({"startTime": START, "conditions": [SANDBOX_READY], "containerStatuses": [CRASHED]}, True, (10, 540)),
        ({"startTime": START, "containerStatuses": [CRASHED]}, False, (10, 540)),
    ],
    ids=["not seen", "not started", "rebooted", "running", "crashed", "crashed, with a subPath", "old Kubernetes"],
)  # fmt: skip
def test_a_consumer_mounted_the_model_between_its_start_and_its_sandbox(
    status: dict[str, Any], sub_path: bool, window: tuple[float, float | None]
) -> None:
    meta = {"name": "server", "creationTimestamp": "2026-01-01T00:00:00Z"}
    found = consumer_facts({"metadata": meta, "status": status}, sub_path=sub_path).window
    assert (found.earliest - 1767225600, found.latest and found.latest - 1767225600) == window


def consumer(artifact: ArtifactFacts, claim: str, phase: str = "Running", **mount: str) -> bool:
    """Whether a pod that mounts `claim` is a consumer."""
    containers = [{"name": "c", "volumeMounts": [{"name": "other"}, {"name": "m", "mountPath": "/m"} | mount]}]
    volumes = [{"name": "m", "persistentVolumeClaim": {"claimName": claim}}, {"name": "other", "emptyDir": {}}]
    meta = {"name": "server", "creationTimestamp": START}
    spec = {"containers": containers, "volumes": volumes}
    return consumer_of(artifact, {"metadata": meta, "spec": spec, "status": {"phase": phase}}) is not None


def test_the_consumers_are_the_pods_that_mount_the_artifacts_claim_and_have_not_terminated() -> None:
    artifact = observed().artifact
    assert consumer(artifact, "chattts")
    assert consumer(artifact, "chattts", "Pending")
    assert not consumer(artifact, "chattts", "Failed")
    assert not consumer(artifact, "whisper")


def test_a_pod_is_bound_to_a_revision_in_an_existing_claim_by_a_sub_path_only() -> None:
    artifact = observed(document({"storage": {"claim": {"name": "models"}}})).artifact
    assert consumer(artifact, "models", subPath="chattts/current")
    assert consumer(artifact, "models", subPathExpr="$(MODEL)/current")
    assert not consumer(artifact, "models", subPath="whisper/current")
    assert not consumer(artifact, "models")


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
