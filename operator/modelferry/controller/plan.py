"""Observed state in, plan out. Pure: the same state and the same time make the same plan."""

from __future__ import annotations

from modelferry.controller.actions import AnnotatePod, Delete, SetFinalizer
from modelferry.controller.children import config_maps
from modelferry.controller.children.pods import limits_annotation
from modelferry.controller.facts import Observed
from modelferry.controller.placement import deselected_nodes, nodes_with_copy, selected_nodes
from modelferry.controller.settings import Settings
from modelferry.controller.step_result import NO_MATCHING_NODES, Blocker, Plan, StepResult
from modelferry.controller.steps import removal
from modelferry.controller.steps.claims import existing_claim, node_local
from modelferry.controller.steps.deletion import delete
from modelferry.controller.steps.node_copy import claim_copy, delete_unselected, local_copy
from modelferry.controller.steps.resolution import resolve
from modelferry.manifest import Manifest
from modelferry.resource import names
from modelferry.resource.spec import ExistingClaim


def plan(observed: Observed, settings: Settings, now: float) -> Plan:
    """What has to be done about one artifact, `now` in seconds of the epoch."""
    artifact = observed.artifact
    if artifact.deleting:
        return Plan.combine([delete(observed, settings, now)]) if artifact.has_finalizer else Plan()
    if observed.namespace_terminating:
        return Plan()  # the artifact is deleted next; until then every creation would be rejected
    if not artifact.has_finalizer:
        return Plan.combine([StepResult((SetFinalizer(True),), requeue_after=0.0)])
    if artifact.spec is None:
        return Plan.combine([StepResult(blocker=Blocker("InvalidSpec", artifact.spec_error, stalled=True))])
    resolved = resolve(observed, settings, now)
    if observed.manifest is None:
        return Plan.combine([resolved])
    if isinstance(artifact.spec.storage, ExistingClaim):
        steps = _into_claim(observed, settings, observed.manifest, artifact.spec.storage.name, now)
    else:
        steps = _onto_nodes(observed, settings, observed.manifest, now)
    steps = [resolved, *steps, _update_limits(observed, settings), _delete_stale_config_maps(observed)]
    return Plan.combine(steps, observed.manifest)


def _into_claim(observed: Observed, settings: Settings, manifest: Manifest, claim: str, now: float) -> list[StepResult]:
    storage = existing_claim(observed, claim)
    if storage.blocker:
        return [storage]
    return [storage, claim_copy(observed, settings, manifest, observed.claims[claim], now)]


def _onto_nodes(observed: Observed, settings: Settings, manifest: Manifest, now: float) -> list[StepResult]:
    storage = node_local(observed, settings, manifest)
    selected = selected_nodes(observed)
    stray = StepResult(tuple(delete_unselected(observed, selected)))
    steps = [stray, storage, *_remove_deselected(observed, settings, now)]
    if storage.blocker:
        return steps
    if not selected:
        spec = observed.artifact.valid_spec.nodes
        selector = ",".join(f"{key}={value}" for key, value in spec.selector) or "(none)"
        found = f"no node matches the selector {selector} with its taints tolerated"
        message = f"{found}: add or label a node, or correct spec.nodes"
        # Not Stalled: a pool may be empty until a consumer makes it grow, which comes after this in a deployment.
        return [*steps, StepResult(blocker=Blocker(NO_MATCHING_NODES, message))]
    return [*steps, *(local_copy(observed, settings, manifest, node, now) for node in selected)]


def _remove_deselected(observed: Observed, settings: Settings, now: float) -> list[StepResult]:
    """Removes the copies from the nodes that are not selected any more."""
    deselected = deselected_nodes(observed.artifact, observed.nodes)
    labels = StepResult(tuple(removal.remove_ready_labels(observed, deselected)))
    removals = [removal.remove_copy(observed, settings, node, now)[0] for node in deselected]
    holding = nodes_with_copy(observed.artifact, observed.nodes)
    return [labels, *removals, StepResult(tuple(removal.delete_leftover_helpers(observed, holding)))]


def _update_limits(observed: Observed, settings: Settings) -> StepResult:
    """Writes changed limits of the spec to the running downloads. `bandwidth_allocator` writes the shares; without a
    bandwidth to share they are removed here."""
    limits = limits_annotation(observed.artifact)
    pods = [pod for pod in observed.pods_of("fetch") if pod.key == observed.artifact.input_key]
    running = [pod for pod in pods if not pod.deleting and pod.finished is None]
    actions = [
        AnnotatePod(pod.namespace, pod.name, names.ANNOTATION_LIMITS, limits) for pod in running if pod.limits != limits
    ]
    actions += [
        AnnotatePod(pod.namespace, pod.name, names.ANNOTATION_SHARE, None)
        for pod in running
        if pod.share is not None and settings.bandwidth is None
    ]
    return StepResult(tuple(actions))


def _delete_stale_config_maps(observed: Observed) -> StepResult:
    """Deletes the ConfigMaps of earlier specs when no pod uses them any more."""
    artifact = observed.artifact
    if any(pod.role in ("resolve", "fetch") and pod.key != artifact.input_key for pod in observed.pods):
        return StepResult()
    wanted = {config_maps.input_name(artifact), config_maps.manifest_name(artifact)}
    storage = artifact.valid_spec.storage
    if isinstance(storage, ExistingClaim) and observed.manifest and storage.name in observed.claims:
        wanted.add(config_maps.copy_name(artifact, observed.manifest, observed.claims[storage.name]))
    stale = sorted(observed.config_maps - wanted)
    return StepResult(tuple(Delete("ConfigMap", name, artifact.namespace) for name in stale))
