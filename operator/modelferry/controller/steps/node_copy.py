"""Step 3, for each selected node (and for the one copy in an existing claim): directory, download, label."""

from __future__ import annotations

from dataclasses import replace

from modelferry.controller import pod_attempts
from modelferry.controller.actions import Action, Create, LabelNode
from modelferry.controller.children import config_maps
from modelferry.controller.children.pods import fetch_pod, helper_pod
from modelferry.controller.facts import ClaimFacts, NodeFacts, Observed, PodFacts
from modelferry.controller.placement import blocked_reason, copy_value, is_settled
from modelferry.controller.pod_attempts import Failed, NotStarted, Running, Succeeded
from modelferry.controller.settings import Settings
from modelferry.controller.step_result import CopyState, StepResult
from modelferry.controller.steps.claims import writer_bound
from modelferry.manifest import Manifest
from modelferry.messages import Outcome, Progress
from modelferry.messages.progress import DOWN, QUARANTINED
from modelferry.resource import names

#: The sidecar's phases as the states of a copy; the others are Downloading.
_PHASES = {"starting": "Preparing", "verifying": "Verifying", "repairing": "Repairing", "recovering": "Verifying",
           "paused": "Paused"}  # fmt: skip
_STARTING = "the download pod is starting"


def local_copy(observed: Observed, settings: Settings, manifest: Manifest, node: NodeFacts, now: float) -> StepResult:
    """Brings `manifest` onto `node`, or verifies it again after a reboot, one action further."""
    artifact = observed.artifact
    fetches, prepares = observed.pods_of("fetch", node.name), observed.pods_of("prepare", node.name)
    ready = names.ready_label(artifact.namespace, artifact.name)
    copy = names.copy_label(artifact.namespace, artifact.name)
    labelled = node.labels.get(ready) == manifest.revision
    if is_settled(artifact, node, manifest.revision):
        obsolete = [pod_attempts.delete_pod(pod) for pod in [*fetches, *prepares] if not pod.deleting]
        return StepResult(tuple(obsolete), copy=_ready(node.name, manifest))
    if labelled and not node.ready:
        return StepResult(copy=_ready(node.name, manifest))
    if outdated := [pod for pod in [*fetches, *prepares] if _is_outdated(pod, node)]:
        deletions = tuple(pod_attempts.delete_pod(pod) for pod in outdated)
        return StepResult(deletions, copy=_waiting(node.name, manifest, "Starting", _STARTING))
    attempt, actions = pod_attempts.evaluate(fetches, artifact.input_key, now)
    if labelled and _is_damaged(observed, attempt):
        actions.append(LabelNode(node.name, ready, None))
    match attempt:
        case Succeeded(_, outcome):
            labels = (
                LabelNode(node.name, ready, manifest.revision),
                LabelNode(node.name, copy, copy_value(artifact, node)),
            )
            state = _completed(node.name, manifest, outcome)
            return StepResult((*actions, *labels), copy=state, requeue_after=0.0)
        case NotStarted(number):
            step = _start(observed, settings, node, number, now)
            state = step.copy or _waiting(node.name, manifest, "Starting", _STARTING)
            return replace(step, actions=(*actions, *step.actions), copy=replace(state, total=manifest.size))
        case _:
            return _in_progress(observed, settings, manifest, node.name, attempt, actions)


def claim_copy(observed: Observed, settings: Settings, manifest: Manifest, claim: ClaimFacts, now: float) -> StepResult:
    """Brings `manifest` into the user's claim. A ConfigMap records that it is complete, as the labels do for nodes."""
    artifact, fetches = observed.artifact, observed.pods_of("fetch", "")
    if config_maps.copy_name(artifact, manifest, claim) in observed.config_maps:
        obsolete = [pod_attempts.delete_pod(pod) for pod in fetches if not pod.deleting]
        return StepResult(tuple(obsolete), copy=_ready("", manifest))
    attempt, actions = pod_attempts.evaluate(fetches, artifact.input_key, now)
    match attempt:
        case Succeeded(_, outcome):
            record = Create(config_maps.copy_map(artifact, manifest, claim))
            state = _completed("", manifest, outcome)
            return StepResult((*actions, record), copy=state, requeue_after=0.0)
        case NotStarted(number):
            consumers = [consumer for found in observed.consumers.values() for consumer in found]
            create = Create(fetch_pod(artifact, settings, "", number, consumers))
            return StepResult((*actions, create), copy=_waiting("", manifest, "Starting", _STARTING))
        case _:
            return _in_progress(observed, settings, manifest, "", attempt, actions)


def delete_unselected(observed: Observed, selected: list[NodeFacts]) -> list[Action]:
    """Deletes the download pods of nodes that are not selected or no longer exist."""
    wanted, existing = {node.name for node in selected}, {node.name for node in observed.nodes}
    unselected = [pod for pod in observed.pods if pod.role in ("fetch", "prepare") and pod.node not in wanted]
    return [
        pod_attempts.delete_pod(pod, immediately=pod.node not in existing)
        for pod in unselected
        if not (pod.deleting and pod.node in existing)
    ]


def _is_outdated(pod: PodFacts, node: NodeFacts) -> bool:
    """Whether `pod` did its work before the node's last boot, in which the disk may have been damaged or lost."""
    return pod.boot != node.boot and pod.outcome is not None and pod.outcome.ok and not pod.deleting


def _is_damaged(observed: Observed, attempt: pod_attempts.Attempt) -> bool:
    """Whether the check of a labelled copy found damage: bytes are being fetched, or the attempt failed."""
    if isinstance(attempt, Running):
        progress = observed.progress.get(attempt.pod.name)
        return progress is not None and progress.phase in ("fetching", "repairing")
    return isinstance(attempt, Failed) and not attempt.died


def _start(observed: Observed, settings: Settings, node: NodeFacts, number: int, now: float) -> StepResult:
    """The directory, then the download pod of attempt `number`. A result without a copy has created that pod."""
    artifact = observed.artifact
    if reason := blocked_reason(node, artifact.valid_spec.nodes):
        return StepResult(copy=CopyState(node.name, "Waiting", "NodeNotReady", reason))
    attempt, actions = pod_attempts.evaluate(observed.pods_of("prepare", node.name), "", now)
    preparing = CopyState(node.name, "Preparing", "Preparing", "the directory is being created")
    match attempt:
        case Succeeded() if writer_bound(observed):
            consumers = observed.consumers.get(node.name, ())
            return StepResult(
                (*actions, Create(fetch_pod(artifact, settings, node.name, number, consumers, node.boot)))
            )
        case Succeeded():
            return StepResult(tuple(actions), copy=preparing, requeue_after=1.0)
        case NotStarted(helper_number):
            # The label first: a directory that may exist is always found again.
            label = LabelNode(node.name, names.copy_label(artifact.namespace, artifact.name), "")
            helper = Create(helper_pod(artifact, settings, "prepare", node.name, helper_number, node.boot))
            return StepResult((*actions, label, helper), copy=preparing)
        case Running(pod):
            return StepResult(tuple(actions), copy=replace(preparing, message=pod.start_error or preparing.message))
        case Failed(_, outcome, retry_after):
            state = "Stalled" if attempt.stalled else "Retrying"
            copy = CopyState(node.name, state, outcome.reason, outcome.message)
            return StepResult(tuple(actions), copy=copy, requeue_after=retry_after)


def _in_progress(
    observed: Observed,
    settings: Settings,
    manifest: Manifest,
    node: str,
    attempt: Running | Failed,
    actions: list[Action],
) -> StepResult:
    """The result while a download runs, or waits after a failure."""
    if isinstance(attempt, Failed):
        return StepResult(tuple(actions), copy=_failed(attempt, manifest, node), requeue_after=attempt.retry_after)
    copy = _running(observed, manifest, attempt.pod, node)
    # A pod that has not started has nothing to report: an event will tell.
    requeue_after = settings.status_interval if attempt.pod.phase == "Running" else None
    return StepResult(tuple(actions), copy=copy, requeue_after=requeue_after)


def _ready(node: str, manifest: Manifest) -> CopyState:
    checksum = "Verified" if all(file.digest for file in manifest.files) else "Unknown"
    size = manifest.size
    return CopyState(node, "Ready", done=size, verified=size, total=size, checksum=checksum)


def _completed(node: str, manifest: Manifest, outcome: Outcome) -> CopyState:
    """The copy when its download has succeeded. Later only the labels or the record are known."""
    return replace(_ready(node, manifest), mirrors=outcome.mirrors, retained=outcome.retained)


def _waiting(node: str, manifest: Manifest, reason: str, message: str) -> CopyState:
    return CopyState(node, "Waiting", reason, message, total=manifest.size)


def _running(observed: Observed, manifest: Manifest, pod: PodFacts, node: str) -> CopyState:
    progress = observed.progress.get(pod.name)
    if progress is None:
        reason = "PodPending" if pod.phase == "Pending" else "Starting"
        copy = _waiting(node, manifest, reason, pod.start_error or _STARTING)
        return copy if pod.phase == "Pending" else replace(copy, reporting=False)
    state = _state(progress)
    return CopyState(
        node=node,
        state=state,
        reason=state,
        message=progress.message,
        done=min(manifest.size, max(progress.done, progress.received)),
        verified=progress.done,
        total=manifest.size,
        speed=progress.speed,
        eta=progress.eta,
        retries=progress.retries,
        checksum=_checksum(progress),
        mirrors=progress.mirrors,
        limit=progress.limit,
        reporting=True,
    )


def _state(progress: Progress) -> str:
    """The state of a copy whose download reports `progress`. Unavailable if every server is down and no byte arrived
    within the last seconds: several connections that are reset at once and reopened are no state for a person."""
    idle = progress.phase in ("fetching", "repairing") and progress.speed < 1
    if idle and progress.mirrors and all(mirror.state in (DOWN, QUARANTINED) for mirror in progress.mirrors):
        return "Unavailable"
    return _PHASES.get(progress.phase, "Downloading")


def _checksum(progress: Progress) -> str:
    return {"mismatch": "Mismatch", "verified": "Verified", "unknown": "Unknown"}.get(progress.checksum, "Pending")


def _failed(attempt: Failed, manifest: Manifest, node: str) -> CopyState:
    outcome = attempt.outcome
    where = f"{node}: " if node and node not in outcome.message else ""
    return CopyState(
        node=node,
        state="Stalled" if attempt.stalled else "Retrying",
        reason=outcome.reason,
        message=f"{where}{outcome.message}",
        done=outcome.bytes,
        verified=outcome.bytes,
        total=manifest.size,
        checksum="Mismatch" if outcome.reason == "DigestMismatch" else "Pending",
        mirrors=outcome.mirrors,
    )
