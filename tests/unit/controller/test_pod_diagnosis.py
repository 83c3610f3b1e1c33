"""Why a pod does not start, and how one ended that left no outcome."""

from __future__ import annotations

from typing import Any

import pytest

from modelferry.controller.pod_diagnosis import death, is_lingering, start_error
from modelferry.resource import names

CHART = "in the chart's values"


def pod(role: str = "fetch", *, deleting: bool = False, deadline: int | None = None, **status: Any) -> dict[str, Any]:
    """A pod of ours; its main container has the name of its role."""
    meta: dict[str, Any] = {"name": "p", "labels": {names.LABEL_ROLE: role}}
    meta |= {"deletionTimestamp": "2026-01-01T00:00:00Z"} if deleting else {}
    spec: dict[str, Any] = {"containers": [{"name": role, "resources": {"limits": {"memory": "256Mi"}}}]}
    spec |= {"activeDeadlineSeconds": deadline} if deadline is not None else {}
    return {"metadata": meta, "spec": spec, "status": status}


def ended(code: int, reason: str = "Error", name: str = "fetch", message: str = "") -> dict[str, Any]:
    return {"name": name, "state": {"terminated": {"exitCode": code, "reason": reason, "message": message}}}


def running(name: str) -> dict[str, Any]:
    return {"name": name, "state": {"running": {}}}


def disrupted(reason: str) -> dict[str, Any]:
    return {"conditions": [{"type": "DisruptionTarget", "status": "True", "reason": reason}]}


FAILED: dict[str, Any] = {"phase": "Failed"}
LOW_MEMORY = "The node was low on resource: memory. Threshold quantity: 100Mi, available: 52Mi. "
LOW_DISK = "The node was low on resource: ephemeral-storage. "


@pytest.mark.parametrize(
    ("found", "reason", "words"),
    [
        (
            pod(containerStatuses=[ended(137, "OOMKilled")]),
            "OOMKilled",
            f"container fetch of pod p was killed at its memory limit of 256Mi: raise agentResources.limits.memory "
            f"{CHART}",
        ),
        (
            pod("prepare", containerStatuses=[ended(137, "OOMKilled", "prepare")]),
            "OOMKilled",
            "container prepare of pod p was killed at its memory limit of 256Mi",
        ),
        (
            pod(**FAILED, reason="Evicted", message=LOW_MEMORY, containerStatuses=[ended(137)]),
            "Evicted",
            "low on resource: memory",
        ),
        (
            pod(**FAILED, reason="Evicted", message=LOW_MEMORY),
            "Evicted",
            f"raise agentResources.requests.memory {CHART}",
        ),
        (pod(**FAILED, reason="Evicted", message=LOW_DISK), "Evicted", "free disk space on the node"),
        (
            pod(**FAILED, reason="Evicted", message='Usage of EmptyDir volume "run" exceeds the limit "16Mi". '),
            "Evicted",
            'Usage of EmptyDir volume "run" exceeds the limit "16Mi": free disk space',
        ),
        (pod(**FAILED, reason="Terminated", message="imminent node shutdown"), "NodeShutdown", "its node shuts down"),
        (pod(**FAILED, reason="NodeShutdown", message="rejected"), "NodeShutdown", "its node shuts down"),
        (
            pod(deadline=600, **FAILED, reason="DeadlineExceeded", containerStatuses=[ended(143)]),
            "DeadlineExceeded",
            "reached its deadline of 600 s, which Modelferry does not set: remove what sets",
        ),
        (pod(**FAILED, reason="Preempting", message="critical"), "Preempted", "a critical pod on its node"),
        (
            pod(**FAILED, reason="OutOfpods", message="Node didn't have enough resource: pods"),
            "OutOfpods",
            "pod p was ended by the kubelet: Node didn't have enough resource: pods",
        ),
        (
            pod(deleting=True, phase="Running", **disrupted("PreemptionByScheduler")),
            "Preempted",
            f"pod p was preempted by a pod of a higher priority: set agentPriorityClassName {CHART}, or add nodes",
        ),
        (pod(deleting=True, phase="Running", **disrupted("EvictionByEvictionAPI")), "Evicted", "kubectl drain"),
        (
            pod(deleting=True, phase="Running", **disrupted("DeletionByTaintManager")),
            "Evicted",
            "spec.nodes.toleration",
        ),
        (pod(**FAILED, **disrupted("DeletionByPodGC")), "NodeGone", "its node does not exist any more"),
        (
            pod(containerStatuses=[ended(137), running("injected")]),
            "PodDied",
            "container fetch of pod p ended without an outcome, with exit code 137 (SIGKILL)",
        ),
        (
            pod(deadline=1, **FAILED, reason="DeadlineExceeded", containerStatuses=[ended(137)]),
            "PodDied",
            "with exit code 137 (SIGKILL)",
        ),
        (pod(**FAILED, containerStatuses=[ended(137, "ContainerStatusUnknown")]), "PodDied", "a reboot of its node"),
        (pod(containerStatuses=[ended(128, "StartError", message="no such file")]), "StartError", "no such file"),
        (
            pod(**FAILED, initContainerStatuses=[ended(1, name="mesh-init")]),
            "PodDied",
            "container mesh-init of pod p ended with exit code 1, so the pod never started",
        ),
        (pod(**FAILED), "PodDied", "pod p ended without an outcome"),
    ],
)
def test_a_pod_that_left_no_outcome_is_retried_and_its_end_is_named(
    found: dict[str, Any], reason: str, words: str
) -> None:
    role = found["metadata"]["labels"][names.LABEL_ROLE]
    outcome = death(found, role)
    assert outcome is not None
    assert (outcome.ok, outcome.reason, outcome.kind) == (False, reason, "transient")
    assert words in outcome.message
    assert "pod p" in outcome.message


@pytest.mark.parametrize(
    "found",
    [
        pod(phase="Pending"),
        pod(phase="Running", containerStatuses=[running("fetch"), ended(1, name="injected")]),
        pod(phase="Running", **disrupted("PreemptionByScheduler")),
        pod(deleting=True, phase="Running", containerStatuses=[ended(143)]),
    ],
)
def test_a_pod_that_works_or_is_deleted_has_not_died(found: dict[str, Any]) -> None:
    assert death(found, "fetch") is None


@pytest.mark.parametrize(
    ("found", "lingering"),
    [
        (pod(phase="Running", containerStatuses=[ended(0), running("injected")]), True),
        (pod(phase="Running", containerStatuses=[running("injected"), ended(3)]), True),
        (pod(phase="Running", containerStatuses=[ended(3), {"name": "injected", "state": {"waiting": {}}}]), True),
        (pod(phase="Running", containerStatuses=[running("fetch"), running("injected")]), False),
        (pod(phase="Running", containerStatuses=[running("fetch"), ended(0, name="injected")]), False),
        (
            pod(phase="Running", initContainerStatuses=[running("checkpoint")], containerStatuses=[ended(0)]),
            False,
        ),
        (pod(deadline=1, phase="Running", containerStatuses=[ended(0), running("injected")]), False),
        (pod(deadline=600, phase="Running", containerStatuses=[ended(0), running("injected")]), True),
        (pod(phase="Failed", containerStatuses=[ended(3), running("injected")]), False),
    ],
)
def test_a_container_that_outlives_the_main_one_lingers(found: dict[str, Any], lingering: bool) -> None:
    """istio/istio#11045: a Job never completes, because the injected proxy never ends."""
    assert is_lingering(found, "fetch") is lingering


@pytest.mark.parametrize(
    ("message", "remedy"),
    [
        (
            "0/2 nodes are available: 2 node(s) had untolerated taint(s). no new claims to deallocate, preemption: 0/2",
            "2 node(s) had untolerated taint(s); add tolerations for the taints to spec.nodes.tolerations",
        ),
        ("0/1 nodes are available: 1 Insufficient cpu.", f"lower agentResources.requests {CHART}"),
        ("0/1 nodes are available: 1 Too many pods.", "wait until other pods on the node end"),
        (
            "0/1 nodes are available: 1 node(s) had volume node affinity conflict.",
            "the claim's volume is not on a node",
        ),
        ("0/1 nodes are available: something new.", "0/1 nodes are available: something new"),
    ],
)
def test_an_unschedulable_pod_is_named_with_the_schedulers_reason_and_the_field(message: str, remedy: str) -> None:
    """kserve/kserve#5348: a pod without tolerations is Pending, and nothing says which pod and why."""
    condition = {"type": "PodScheduled", "status": "False", "reason": "Unschedulable", "message": message}
    error = start_error(pod("resolve", phase="Pending", conditions=[condition]))
    assert error.startswith("Unschedulable: pod p: 0/")
    assert remedy in error


def test_an_image_that_cannot_be_pulled_names_the_container_and_the_values() -> None:
    waiting = {"name": "fetch", "state": {"waiting": {"reason": "ImagePullBackOff", "message": "not found"}}}
    expected = f"ImagePullBackOff: container fetch of pod p: not found; check image and image.pullSecrets {CHART}"
    assert start_error(pod(containerStatuses=[waiting])) == expected


@pytest.mark.parametrize(
    ("last", "error"),
    [
        (ended(1, message="no space\n"), "container checkpoint of pod p ended with exit code 1: no space"),
        (ended(137, "OOMKilled"), "OOMKilled: container checkpoint of pod p was killed"),
    ],
)
def test_a_sidecar_that_does_not_start_is_an_error_with_its_cause(last: dict[str, Any], error: str) -> None:
    waiting = {"state": {"waiting": {"reason": "CrashLoopBackOff"}}, "lastState": last["state"]}
    found = pod(phase="Pending", initContainerStatuses=[{"name": "checkpoint", **waiting}])
    assert start_error(found).startswith(error)


def test_a_starting_pod_has_no_error() -> None:
    starting = {"name": "fetch", "state": {"waiting": {"reason": "ContainerCreating"}}}
    assert start_error(pod(containerStatuses=[starting])) == ""
