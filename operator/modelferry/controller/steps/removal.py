"""Removes the copy from a node: first the ready label (no new consumer is scheduled), then, when no consumer is left,
the directory."""

from __future__ import annotations

from modelferry.controller import pod_attempts
from modelferry.controller.actions import Action, Create, LabelNode
from modelferry.controller.children.pods import helper_pod
from modelferry.controller.facts import NodeFacts, Observed
from modelferry.controller.pod_attempts import Failed, NotStarted, Running, Succeeded
from modelferry.controller.settings import Settings
from modelferry.controller.step_result import StepResult
from modelferry.resource import names

#: Seconds until a removal that waits for a pod or a node is checked again: foreign pods are not watched.
_REQUEUE = 3.0


def remove_ready_labels(observed: Observed, nodes: list[NodeFacts]) -> list[LabelNode]:
    """Removes the ready label from `nodes`."""
    key = names.ready_label(observed.artifact.namespace, observed.artifact.name)
    return [LabelNode(node.name, key, None) for node in nodes if key in node.labels]


def remove_copy(observed: Observed, settings: Settings, node: NodeFacts, now: float) -> tuple[StepResult, str]:
    """Removes the directory on `node`, one action further; and what it waits for, empty if it does not wait."""
    artifact = observed.artifact
    if consumers := observed.consumers.get(node.name):
        return StepResult(requeue_after=_REQUEUE), f"pod {consumers[0].name} on {node.name} uses the model"
    if any(pod.role in ("fetch", "prepare") for pod in observed.pods if pod.node == node.name):
        return StepResult(requeue_after=_REQUEUE), f"the download pod on {node.name} is terminating"
    attempt, deletions = pod_attempts.evaluate(observed.pods_of("remove", node.name), "", now)
    removing = f"the directory on {node.name} is being removed"
    not_ready = f"node {node.name} is not ready; its directory still exists"
    match attempt:
        case Succeeded(pod, _):
            unlabel = LabelNode(node.name, names.copy_label(artifact.namespace, artifact.name), None)
            return StepResult((*deletions, unlabel, pod_attempts.delete_pod(pod)), requeue_after=0.0), ""
        case NotStarted() if not node.ready:
            return StepResult(tuple(deletions), requeue_after=_REQUEUE), not_ready
        case NotStarted(number):
            create = Create(helper_pod(artifact, settings, "remove", node.name, number))
            return StepResult((*deletions, create)), removing
        case Running(pod):
            reason = (pod.start_error or removing) if node.ready else not_ready
            return StepResult(tuple(deletions), requeue_after=_REQUEUE), reason
        case Failed(_, outcome, retry_after):
            reason = f"the directory on {node.name} cannot be removed: {outcome.message}"
            return StepResult(tuple(deletions), requeue_after=retry_after), reason


def delete_leftover_helpers(observed: Observed, nodes: list[NodeFacts]) -> list[Action]:
    """Deletes removal pods that are not on one of `nodes`: their work is done, or their node is gone."""
    holding, existing = {node.name for node in nodes}, {node.name for node in observed.nodes}
    leftover = [pod for pod in observed.pods_of("remove") if pod.node not in holding and not pod.deleting]
    return [pod_attempts.delete_pod(pod, immediately=pod.node not in existing) for pod in leftover]
