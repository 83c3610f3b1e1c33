"""Which artifacts an event concerns. Most events change nothing that a plan reads: a node's heartbeat, a condition of a
pod, our own write of a status. Each reconciliation makes about ten calls, so such events are dropped here."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from typing import Any

from modelferry.controller.facts import NodeFacts, PodFacts, claim_facts, node_facts, pod_facts
from modelferry.controller.pod_diagnosis import ENDED_PHASES
from modelferry.controller.work_queue import Key
from modelferry.resource import names


class EventFilter:
    """Remembers what is known of each object. An event's ``type`` is ADDED, MODIFIED, DELETED, or None when listed."""

    def __init__(self) -> None:
        self._known: dict[str, object] = {}

    def artifact(self, type_: str | None, body: Mapping[str, Any]) -> bool:
        """Whether a ModelArtifact's event concerns it: its spec, its finalizers, or its deletion."""
        meta = body["metadata"]
        known = (meta.get("generation"), meta.get("deletionTimestamp"), tuple(meta.get("finalizers") or ()))
        return self._replace(type_, f"artifact {meta['uid']}", known)[0]

    def pod(self, type_: str | None, body: Mapping[str, Any]) -> bool:
        """Whether an event of one of our pods concerns its artifact."""
        meta = body["metadata"]
        facts = pod_facts(dict(body), meta["labels"].get(names.LABEL_ROLE, ""))
        return self._replace(type_, f"pod {meta['uid']}", _essence(facts))[0]

    def claim(self, type_: str | None, body: Mapping[str, Any]) -> bool:
        """Whether an event of one of our claims concerns its artifact."""
        return self._replace(type_, f"claim {body['metadata']['uid']}", claim_facts(dict(body), ""))[0]

    def node(self, type_: str | None, body: Mapping[str, Any]) -> frozenset[Key] | None:
        """The artifacts that a node's event concerns; None for all of them."""
        facts = node_facts(dict(body))
        _, before = self._replace(type_, f"node {facts.name}", facts)
        if type_ == "DELETED" or not isinstance(before, NodeFacts):
            return None
        return concerned_artifacts(before, facts)

    def _replace(self, type_: str | None, key: str, known: object) -> tuple[bool, object]:
        """Whether `known` differs from what was known, and that."""
        before = self._known.get(key)
        if type_ == "DELETED":
            self._known.pop(key, None)
            return True, before
        self._known[key] = known
        return known != before, before


def concerned_artifacts(before: NodeFacts, after: NodeFacts) -> frozenset[Key] | None:
    """The artifacts that a node's change concerns: one if only its own labels changed, none without a change, and
    otherwise all of them (None)."""
    changed = {key for key, _ in set(before.labels.items()) ^ set(after.labels.items())}
    owners = [names.parse_node_label(key) for key in changed]
    if replace(before, labels={}) != replace(after, labels={}) or None in owners:
        return None
    return frozenset((owner.namespace, owner.artifact) for owner in owners if owner is not None)


def _essence(pod: PodFacts) -> PodFacts:
    """`pod` without what no plan reads: the share of the bandwidth, which another task writes; of a pod that is being
    deleted all but its cause; the phase of a pod whose outcome is good; and the start of a pod that reports nothing."""
    pod = replace(pod, share=None)
    if pod.deleting:
        return replace(pod, phase="", ip="", finished=None, outcome=None, lingering=False, start_error="", limits=None)
    if (pod.outcome and pod.outcome.ok) or (pod.role != "fetch" and pod.phase not in ENDED_PHASES):
        return replace(pod, phase="", ip="")
    return pod
