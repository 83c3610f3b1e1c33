"""All Events of an artifact: what a plan did, and what changed between the last status and the new one. Pure.

The last status is the only record of what was already announced, so Events are compared with it and not with the
cluster: after a restart of the operator none is repeated.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass

from modelferry.controller import pod_attempts
from modelferry.controller.actions import Action, AnnotatePod, Create, LabelNode
from modelferry.controller.children import config_maps
from modelferry.controller.facts import Object, Observed
from modelferry.controller.placement import deselected_nodes
from modelferry.controller.pod_attempts import NotStarted, Succeeded
from modelferry.controller.step_result import NO_MATCHING_NODES, REFUSED, Plan
from modelferry.manifest import Manifest
from modelferry.manifest.entries import SOURCE
from modelferry.messages import Outcome
from modelferry.messages.progress import DOWN, QUARANTINED, RECOVERING, UP
from modelferry.resource import names
from modelferry.resource.conditions import READY, STALLED
from modelferry.resource.undeclared_digests import completeness
from modelferry.values.quantities import rate_text, size_text

#: Reasons of an artifact that waits, perhaps for a person: an Event tells what the condition Stalled does not.
_WAITING_FOR_A_PERSON = frozenset({REFUSED, NO_MATCHING_NODES})


@dataclass(frozen=True, slots=True)
class EventRecord:
    """A Kubernetes Event that is to be written; `warning` makes its type Warning."""

    reason: str
    message: str
    warning: bool = False


def artifact_events(observed: Observed, plan: Plan, status: Object, now: float) -> list[EventRecord]:
    """The Events of a reconciliation whose `plan` was applied and made `status`."""
    return [*plan_events(observed, plan, now), *status_events(observed.artifact.last_status, status)]


def plan_events(observed: Observed, plan: Plan, now: float) -> list[EventRecord]:
    """The Events of the plan's actions, in their order."""
    found = (_action_event(observed, plan, action, now) for action in plan.actions)
    return [event for event in found if event is not None]


def _action_event(observed: Observed, plan: Plan, action: Action, now: float) -> EventRecord | None:
    artifact = observed.artifact
    match action:
        case Create({"kind": "ConfigMap", "metadata": {"name": name}}) if name == config_maps.manifest_name(artifact):
            return EventRecord("Resolved", "the source is resolved; the manifest is stored")
        case Create({"kind": "Pod", "metadata": {"labels": {names.LABEL_ROLE: "fetch"}, "annotations": annotations}}):
            return _download_started(observed, annotations[names.ANNOTATION_NODE], now)
        case LabelNode(node, key, value) if key == names.ready_label(artifact.namespace, artifact.name):
            return _copy_label_changed(observed, plan.manifest, node, value, now)
        case AnnotatePod(namespace, name, names.ANNOTATION_LIMITS, str(limits)):
            pod = next(pod for pod in observed.pods if (pod.namespace, pod.name) == (namespace, name))
            return EventRecord("LimitChanged", f"{pod.node or 'the claim'}: the limits are now {limits}")
    return None


def _download_started(observed: Observed, node: str, now: float) -> EventRecord | None:
    attempt, _ = pod_attempts.evaluate(observed.pods_of("fetch", node), observed.artifact.input_key, now)
    if not node or not isinstance(attempt, NotStarted):
        return None
    previous = f"; the previous attempt failed: {attempt.previous_error}" if attempt.previous_error else ""
    return EventRecord("Downloading", f"{node}: attempt {attempt.number} started{previous}")


def _copy_label_changed(
    observed: Observed, manifest: Manifest | None, node: str, revision: str | None, now: float
) -> EventRecord | None:
    artifact = observed.artifact
    if revision is not None:
        attempt, _ = pod_attempts.evaluate(observed.pods_of("fetch", node), artifact.input_key, now)
        summary = f": {_summary(attempt.outcome, manifest)}" if isinstance(attempt, Succeeded) else ""
        return EventRecord("NodeReady", f"{node}{summary}")
    if artifact.deleting or node not in {one.name for one in deselected_nodes(artifact, observed.nodes)}:
        return None  # a deleted artifact, or a copy that lost bytes: the status reports both
    return EventRecord("NodeDeselected", f"{node}: the node is no longer selected; its copy is being removed")


def _summary(outcome: Outcome, manifest: Manifest | None) -> str:
    undeclared = [file.path for file in manifest.undeclared] if manifest is not None else []
    known = completeness(undeclared) if undeclared else "verified"
    parts = [f"revision {outcome.revision} is {known}: {size_text(outcome.bytes)}"]
    if outcome.seconds > 0:
        parts.append(f"{size_text(outcome.fetched)} fetched in {outcome.seconds:.0f} s")
        parts.append(rate_text(outcome.fetched / outcome.seconds))
    parts += [f"{outcome.retries} chunks retried"] if outcome.retries else []
    parts += [f"{outcome.rehashed} chunks hashed again after an unclean boot"] if outcome.rehashed else []
    return ", ".join(parts)


def status_events(before: Object, after: Object) -> list[EventRecord]:
    """The Events between two statuses: copies that became Stalled or Retrying, mirrors whose state changed, and the
    artifact when it became Stalled, Refused or Ready, or has no node."""
    found = [*_copy_events(before, after), *mirror_events(before.get("mirrors") or [], after.get("mirrors") or [])]
    reasons = {event.reason for event in found}
    stalled, stalled_before = _condition(after, STALLED), _condition(before, STALLED)
    if stalled and stalled["reason"] != stalled_before.get("reason") and stalled["reason"] not in reasons:
        found.append(EventRecord(stalled["reason"], stalled["message"], warning=True))
    ready, ready_before = _condition(after, READY), _condition(before, READY)
    if ready["reason"] in _WAITING_FOR_A_PERSON and ready["reason"] != ready_before.get("reason"):
        found.append(EventRecord(ready["reason"], ready["message"], warning=True))
    if ready.get("status") == "True" and ready_before.get("status") != "True":
        found.append(EventRecord("Ready", ready["message"]))
    return found


def _copy_events(before: Object, after: Object) -> Iterator[EventRecord]:
    previous = {copy["name"]: copy for copy in before.get("copies") or []}
    for copy in after.get("copies") or []:
        old = previous.get(copy["name"], {})
        failing = copy["state"] in ("Stalled", "Retrying")
        if failing and (copy["state"], copy.get("reason")) != (old.get("state"), old.get("reason")):
            yield EventRecord(copy["reason"], copy.get("message", ""), warning=True)


def mirror_events(before: Iterable[Object], after: Iterable[Object]) -> list[EventRecord]:
    """The Events between two lists of ``status.mirrors``: down, recovered, quarantined, and falls to the source."""
    previous = {entry["name"]: entry for entry in before}
    found = []
    for entry in after:
        old = previous.get(entry["name"], {})
        if (event := _mirror_state_event(entry, old.get("state", UP))) is not None:
            found.append(event)
        if entry["name"] == SOURCE and entry.get("fallbacks", 0) > old.get("fallbacks", 0):
            message = "every mirror that is preferred to the source is down; the source itself is used"
            found.append(EventRecord("FellBackToSource", message, warning=True))
    return found


def _mirror_state_event(entry: Object, before: str) -> EventRecord | None:
    name, state, cause = entry["name"], entry["state"], entry.get("message", "")
    if state == before:
        return None
    if state == QUARANTINED:
        remedy = "fix it and give it another name, or remove it from spec.mirrors"
        return EventRecord("MirrorQuarantined", f"mirror {name} {cause}; it is not used any more; {remedy}", True)
    if state == DOWN and before != RECOVERING:
        instead = "other mirrors are used" if name != SOURCE else "the mirrors are used"
        return EventRecord("MirrorDown", f"mirror {name} is down: {cause}; {instead}, and it is probed", True)
    if state == UP and before in (DOWN, RECOVERING):
        return EventRecord("MirrorRecovered", f"mirror {name} has recovered and is used again")
    return None


def _condition(status: Object, type_: str) -> Object:
    return next((dict(one) for one in status.get("conditions") or [] if one["type"] == type_), {})
