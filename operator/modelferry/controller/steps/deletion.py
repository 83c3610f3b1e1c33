"""The artifact is deleted: pods, labels, claims, directories, volumes, last our finalizer; and what that waits for."""

from __future__ import annotations

from modelferry.controller import pod_attempts
from modelferry.controller.actions import Action, Delete, SetFinalizer
from modelferry.controller.facts import Observed
from modelferry.controller.placement import nodes_with_copy
from modelferry.controller.settings import Settings
from modelferry.controller.step_result import Blocker, StepResult, soonest
from modelferry.controller.steps import removal

#: Seconds between two checks while a deletion waits.
_REQUEUE = 3.0


def delete(observed: Observed, settings: Settings, now: float) -> StepResult:
    """Deletes what can be deleted now. The blocker says what the deletion waits for."""
    nodes = nodes_with_copy(observed.artifact, observed.nodes)
    actions = _delete_pods(observed)
    actions += removal.remove_ready_labels(observed, nodes)
    claims = [claim for claim in observed.claims.values() if claim.ours]
    namespace = observed.artifact.namespace
    actions += [Delete("PersistentVolumeClaim", claim.name, namespace) for claim in claims if not claim.deleting]
    removals = [removal.remove_copy(observed, settings, node, now) for node in nodes]
    actions += [action for step, _ in removals for action in step.actions]
    actions += removal.delete_leftover_helpers(observed, nodes)
    if not nodes and not claims:
        actions += [Delete("PersistentVolume", one.name) for one in observed.volumes.values() if not one.deleting]
    if not (nodes or claims or observed.volumes or observed.pods):
        return StepResult((SetFinalizer(False),))
    waits = [reason for _, reason in removals if reason]
    waits += [f"claim {claim.name} is being released" for claim in claims]
    waits += [f"pod {pod.name} is terminating" for pod in observed.pods]
    blocker = Blocker("Deleting", f"waiting: {waits[0] if waits else 'the volumes are being removed'}")
    return StepResult(tuple(actions), blocker, soonest([_REQUEUE, *(step.requeue_after for step, _ in removals)]))


def _delete_pods(observed: Observed) -> list[Action]:
    """All but the removal pods. A pod whose node is gone is deleted without a grace period, even if it terminates."""
    existing = {node.name for node in observed.nodes}
    return [
        pod_attempts.delete_pod(pod, immediately=bool(pod.node) and pod.node not in existing)
        for pod in observed.pods
        if pod.role != "remove" and not (pod.deleting and (pod.node in existing or not pod.node))
    ]
