"""The artifact is deleted: pods, labels, claims, directories, volumes, last our finalizer; and what it waits for."""

from __future__ import annotations

from modelferry.controller import pod_attempts
from modelferry.controller.actions import Action, Delete, Finalizer
from modelferry.controller.facts import Observed
from modelferry.controller.placement import holders
from modelferry.controller.settings import Settings
from modelferry.controller.states import Blocker, Step
from modelferry.controller.steps import removal

_LOOK = 3.0


def delete(seen: Observed, settings: Settings, now: float) -> Step:
    """One step further towards nothing left. Its hold says what is waited for."""
    nodes = holders(seen)
    existing = {node.name for node in seen.nodes}
    actions: list[Action] = [
        pod_attempts.delete_pod(pod, at_once=bool(pod.node) and pod.node not in existing)
        for pod in seen.pods
        if pod.role != "remove" and not (pod.deleting and (pod.node in existing or not pod.node))
    ]
    actions += removal.unlabel(seen, nodes)
    ours = [claim for claim in seen.claims.values() if claim.ours]
    actions += [Delete("PersistentVolumeClaim", claim.name, seen.namespace) for claim in ours if not claim.deleting]
    cleared = [removal.clear(seen, settings, node, now) for node in nodes]
    actions += [action for step, _ in cleared for action in step.actions]
    actions += removal.leftover_helpers(seen, nodes)
    waits = [why for _, why in cleared if why]
    if not nodes and not ours:
        actions += [Delete("PersistentVolume", v.name) for v in seen.volumes.values() if not v.deleting]
    if nodes or ours or seen.volumes or seen.pods:
        waits += [f"claim {claim.name} is being released" for claim in ours]
        waits += [f"pod {pod.name} is ending" for pod in seen.pods]
        hold = Blocker("Deleting", f"waiting: {waits[0] if waits else 'the volumes are being removed'}")
        return Step(
            tuple(actions), hold=hold, again=min([_LOOK, *(s.again for s, _ in cleared if s.again is not None)])
        )
    return Step((Finalizer(False),))
