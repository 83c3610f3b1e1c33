"""Why one of our pods does not start, and why one ended without an outcome: the pod, the cause and the remedy. Pure.

Kubernetes reports the causes in five places: the condition PodScheduled, the states of the containers, the reason of
the status (the kubelet: evictions, deadlines, a shutdown, admission), and the condition DisruptionTarget (KEP-3329: the
scheduler, drains, taints).
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from modelferry.messages import Outcome
from modelferry.resource import names

Object = dict[str, Any]

#: ``spec.activeDeadlineSeconds`` that the operator sets to end a pod whose main container has ended.
END_DEADLINE = 1

ENDED_PHASES = ("Succeeded", "Failed")

#: Waiting reasons that are errors; the others (ContainerCreating, PodInitializing) are part of every start.
_PULL_ERRORS = ("ErrImagePull", "ImagePullBackOff", "ErrImageNeverPull", "InvalidImageName")
_WAITING_ERRORS = (*_PULL_ERRORS, "CreateContainerConfigError", "CreateContainerError", "CrashLoopBackOff",
                   "RunContainerError")  # fmt: skip
_PULL_REMEDY = "check image and image.pullSecrets in the chart's values"

#: Words of the scheduler's message, and the remedy.
_SCHEDULER_REMEDIES = (
    ("untolerated taint", "add tolerations for the taints to spec.nodes.tolerations"),
    ("Too many pods", "wait until other pods on the node end, or move them"),
    ("Insufficient ", "free capacity on the nodes, or lower agentResources.requests in the chart's values"),
    ("volume node affinity conflict", "the claim's volume is not on a node that the pod may use"),
    ("unbound immediate PersistentVolumeClaims", "check why the claim is not bound"),
)

#: Reasons of the condition DisruptionTarget: our reason, and what happened.
_DISRUPTIONS = {
    "PreemptionByScheduler": (
        "Preempted",
        "was preempted by a pod of a higher priority: set agentPriorityClassName in the chart's values, or add nodes",
    ),
    "EvictionByEvictionAPI": ("Evicted", "was evicted by a request to the API server, as kubectl drain sends"),
    "DeletionByTaintManager": (
        "Evicted",
        "was evicted because its node has a NoExecute taint, as a node that is down has: remove the taint, or add a "
        "toleration to spec.nodes.tolerations",
    ),
    "DeletionByPodGC": ("NodeGone", "was deleted because its node does not exist any more"),
}

_SHUTDOWN = ("Terminated", "NodeShutdown", "Shutdown")


def start_error(pod: Object) -> str:
    """Why a pod does not start; empty if no error is known."""
    name, status = pod["metadata"]["name"], pod.get("status") or {}
    if scheduling := _condition(status, "PodScheduled", "False"):
        return _scheduling_error(name, scheduling)
    for container in _container_statuses(status):
        state, last = container.get("state") or {}, container.get("lastState") or {}
        ended = state.get("terminated") or last.get("terminated") or {}
        waiting = state.get("waiting") or {}
        where = f"container {container['name']} of pod {name}"
        if ended.get("exitCode") and not state.get("running"):
            if ended.get("reason") == "OOMKilled":
                return f"OOMKilled: {where} {_memory(pod, container['name'])}"
            return f"{where} ended with exit code {ended['exitCode']}: {(ended.get('message') or '').strip()[-500:]}"
        if waiting.get("reason") in _WAITING_ERRORS:
            remedy = f"; {_PULL_REMEDY}" if waiting["reason"] in _PULL_ERRORS else ""
            return f"{waiting['reason']}: {where}: {waiting.get('message', '')}{remedy}"
    return ""


def death(pod: Object, main: str) -> Outcome | None:
    """How a pod ended whose `main` container left no outcome; None while it works, and for an ordinary deletion."""
    meta, status = pod["metadata"], pod.get("status") or {}
    disruption = _disruption(status)
    if meta.get("deletionTimestamp"):
        return _died(pod, *disruption) if disruption else None
    ended = terminated(status, main)
    if not ended and status.get("phase") not in ENDED_PHASES:
        return None
    if ended.get("reason") == "OOMKilled":
        return _died(pod, "OOMKilled", _memory(pod, main), main)
    cause = _kubelet_cause(pod) or disruption
    return _died(pod, *cause) if cause else _died(pod, *_exit_cause(pod, main, ended))


def terminated(status: Object, name: str) -> Object:
    """The ``terminated`` state of a container; empty if it has not ended."""
    for container in status.get("containerStatuses") or []:
        if container["name"] == name:
            return dict((container.get("state") or {}).get("terminated") or {})
    return {}


def is_lingering(pod: Object, main: str) -> bool:
    """Whether another container, which something added to the pod, still runs although `main` has ended.

    Native sidecars are terminated by the kubelet when all other containers have ended, so they do not count.
    """
    status = pod.get("status") or {}
    if not terminated(status, main) or status.get("phase") in ENDED_PHASES or _is_ended_by_us(pod):
        return False
    others = [one for one in status.get("containerStatuses") or [] if one["name"] != main]
    return any(not (one.get("state") or {}).get("terminated") for one in others)


def _scheduling_error(name: str, condition: Object) -> str:
    message = str(condition.get("message", "")).partition(". ")[0]  # what follows is about preemption
    remedy = next((f"; {remedy}" for words, remedy in _SCHEDULER_REMEDIES if words in message), "")
    return f"{condition.get('reason', '')}: pod {name}: {message.rstrip('.')}{remedy}"


def _kubelet_cause(pod: Object) -> tuple[str, str] | None:
    """The reason of the pod's status as reason and text."""
    status = pod.get("status") or {}
    reason, said = status.get("reason", ""), str(status.get("message", "")).strip().rstrip(".")
    if not reason or (reason == "DeadlineExceeded" and _is_ended_by_us(pod)):
        return None
    if reason == "Evicted":
        return "Evicted", f"was evicted: {said}: {_eviction_remedy(said)}"
    if reason == "Preempting":
        return "Preempted", "was preempted by a critical pod on its node: add nodes, or move pods to other nodes"
    if reason in _SHUTDOWN:
        return "NodeShutdown", "was terminated because its node shuts down"
    if reason == "DeadlineExceeded":
        seconds = pod.get("spec", {}).get("activeDeadlineSeconds")
        remedy = "remove what sets spec.activeDeadlineSeconds of pods, such as an admission policy"
        return reason, f"reached its deadline of {seconds} s, which Modelferry does not set: {remedy}"
    return reason, f"was ended by the kubelet: {said}"


def _eviction_remedy(message: str) -> str:
    if "resource: memory" in message:
        return "free memory on the node, or raise agentResources.requests.memory in the chart's values"
    if "EmptyDir" in message or "ephemeral" in message or "inodes" in message:
        return "free disk space on the node, or raise agentResources.requests.ephemeral-storage in the chart's values"
    return "free that resource on the node"


def _exit_cause(pod: Object, main: str, ended: Object) -> tuple[str, str, str]:
    """Reason, text and container of a pod of which only the exit code says how it ended."""
    for container in (pod.get("status") or {}).get("initContainerStatuses") or []:
        code = ((container.get("state") or {}).get("terminated") or {}).get("exitCode")
        if not ended and code:
            return "PodDied", f"ended with exit code {code}, so the pod never started", container["name"]
    if not ended:
        return "PodDied", "ended without an outcome", ""
    if ended.get("reason") == "ContainerStatusUnknown":
        return "PodDied", "ended without an outcome; its state was lost, as after a reboot of its node", main
    if ended.get("reason") not in ("Error", "Completed", None):
        return str(ended["reason"]), f"could not run: {str(ended.get('message', '')).strip()[:300]}", main
    code = ended.get("exitCode", 0)
    signals = {137: " (SIGKILL)", 143: " (SIGTERM)"}
    text = f"ended without an outcome, with exit code {code}{signals.get(code, '')}"
    return "PodDied", text, main


def _memory(pod: Object, container: str) -> str:
    spec = pod.get("spec") or {}
    found = [one for one in [*spec.get("initContainers", []), *spec.get("containers", [])] if one["name"] == container]
    limit = ((found[0].get("resources") or {}).get("limits") or {}).get("memory") if found else None
    if limit is None:
        return "was killed because its node ran out of memory: free memory on the node"
    role = (pod["metadata"].get("labels") or {}).get(names.LABEL_ROLE)
    remedy = ": raise agentResources.limits.memory in the chart's values" if role in ("resolve", "fetch") else ""
    return f"was killed at its memory limit of {limit}{remedy}"


def _died(pod: Object, reason: str, text: str, container: str = "") -> Outcome:
    where = f"container {container} of pod" if container else "pod"
    return Outcome(False, reason, "transient", f"{where} {pod['metadata']['name']} {text}")


def _disruption(status: Object) -> tuple[str, str] | None:
    condition = _condition(status, "DisruptionTarget", "True")
    return _DISRUPTIONS.get(str(condition.get("reason")))


def _is_ended_by_us(pod: Object) -> bool:
    return bool((pod.get("spec") or {}).get("activeDeadlineSeconds") == END_DEADLINE)


def _condition(status: Object, type_: str, value: str) -> Object:
    found = (one for one in status.get("conditions") or [] if (one["type"], one["status"]) == (type_, value))
    return next((dict(one) for one in found), {})


def _container_statuses(status: Object) -> Iterator[Object]:
    yield from status.get("initContainerStatuses") or []
    yield from status.get("containerStatuses") or []
