"""Step 1: the input ConfigMap, the resolve pod, and the manifest that it logged as an immutable ConfigMap."""

from __future__ import annotations

from modelferry.controller import pod_attempts
from modelferry.controller.actions import Action, Create
from modelferry.controller.children import config_maps
from modelferry.controller.children.pods import resolve_pod
from modelferry.controller.facts import Observed, PodFacts
from modelferry.controller.placement import untolerated
from modelferry.controller.pod_attempts import Failed, NotStarted, Succeeded
from modelferry.controller.settings import Settings
from modelferry.controller.step_result import Blocker, StepResult
from modelferry.messages import Outcome

_RESOLVING = "requesting the list of files from the source"


def resolve(observed: Observed, settings: Settings, now: float) -> StepResult:
    """Has no blocker when the manifest is stored."""
    artifact, pods = observed.artifact, observed.pods_of("resolve")
    actions: list[Action] = []
    if config_maps.input_name(artifact) not in observed.config_maps:
        actions.append(Create(config_maps.input_map(artifact, settings)))
    if observed.manifest is not None:
        actions += [pod_attempts.delete_pod(pod) for pod in pods if not pod.deleting]
        return StepResult(tuple(actions))
    attempt, deletions = pod_attempts.evaluate(pods, artifact.input_key, now)
    actions += deletions
    match attempt:
        case NotStarted(number):
            create = Create(resolve_pod(artifact, settings, number))
            return StepResult((*actions, create), Blocker("Resolving", _RESOLVING))
        case Succeeded() if observed.logged_manifest is not None:
            create = Create(config_maps.manifest_map(artifact, observed.logged_manifest))
            return StepResult((*actions, create), Blocker("Resolving", "the manifest is being stored"), 0.0)
        case Succeeded(pod, _):
            return _unreadable_log(observed, settings, now, pod, actions)
        case Failed(_, outcome, retry_after):
            blocker = Blocker(outcome.reason, outcome.message, attempt.stalled)
            return StepResult(tuple(actions), blocker, retry_after)
        case _:
            return StepResult(tuple(actions), Blocker("Resolving", _progress(observed, attempt.pod)))


def _progress(observed: Observed, pod: PodFacts) -> str:
    """What the pod does, or why it does not start. The scheduler does not say which taints it means."""
    taints = untolerated(observed.nodes, observed.artifact.valid_spec.nodes)
    if "untolerated taint" in pod.start_error and taints:
        return f"{pod.start_error} (the nodes have {', '.join(taints)})"
    return pod.start_error or _RESOLVING


def _unreadable_log(
    observed: Observed, settings: Settings, now: float, pod: PodFacts, actions: list[Action]
) -> StepResult:
    """The pod's log cannot be read: its node may answer again, and if not (or it was rotated), another pod resolves."""
    lost = Outcome(False, "ManifestLost", "transient")
    retry_after = (pod.finished or pod.created) + (pod_attempts.retry_delay(lost, pod.attempt) or 0.0) - now
    blocker = Blocker("Resolving", f"the log of pod {pod.name}, which contains the manifest, cannot be read yet")
    if retry_after > 0:
        return StepResult(tuple(actions), blocker, retry_after)
    return StepResult((*actions, Create(resolve_pod(observed.artifact, settings, pod.attempt + 1))), blocker)
