"""Facts in, plan out. Pure: the same facts and the same time make the same plan."""

from __future__ import annotations

from modelferry.controller.actions import Annotate, Delete, EventRecord, Finalizer
from modelferry.controller.children import config_maps
from modelferry.controller.children.pods import limits_of
from modelferry.controller.facts import Observed
from modelferry.controller.placement import chosen_nodes, holders
from modelferry.controller.settings import Settings
from modelferry.controller.states import Blocker, Plan, Step
from modelferry.controller.steps import removal
from modelferry.controller.steps.claims import existing_claim, node_local
from modelferry.controller.steps.deletion import delete
from modelferry.controller.steps.node_copy import claim_copy, drop_foreign, local_copy
from modelferry.controller.steps.resolution import resolve
from modelferry.manifest import Manifest
from modelferry.resource import names
from modelferry.resource.spec import ExistingClaim


def plan(seen: Observed, settings: Settings, now: float) -> Plan:
    """What is to be done about one artifact, `now` in seconds of the epoch."""
    if seen.deleting:
        return Plan.of([delete(seen, settings, now)]) if seen.finalized else Plan()
    if not seen.finalized:
        return Plan.of([Step((Finalizer(True),), again=0.0)])
    if seen.artifact is None:
        return Plan.of([Step(hold=Blocker("InvalidSpec", seen.fault, stalled=True))])
    resolved = resolve(seen, settings, now)
    if seen.manifest is None:
        return Plan.of([resolved])
    if isinstance(seen.artifact.spec.storage, ExistingClaim):
        steps = _into_claim(seen, settings, seen.manifest, seen.artifact.spec.storage.name, now)
    else:
        steps = _onto_nodes(seen, settings, seen.manifest, now)
    return Plan.of([resolved, *steps, _limits(seen, settings), _housekeeping(seen, settings)], seen.manifest)


def _into_claim(seen: Observed, settings: Settings, manifest: Manifest, claim: str, now: float) -> list[Step]:
    there = existing_claim(seen, claim)
    return [there] if there.hold else [there, claim_copy(seen, settings, manifest, now)]


def _onto_nodes(seen: Observed, settings: Settings, manifest: Manifest, now: float) -> list[Step]:
    storage = node_local(seen, settings, manifest)
    chosen = chosen_nodes(seen)
    steps = [Step(tuple(drop_foreign(seen, chosen))), storage, *_leaving(seen, settings, now)]
    if storage.hold:
        return steps
    if not chosen:
        assert seen.artifact is not None
        selector = ",".join(f"{key}={value}" for key, value in seen.artifact.spec.nodes.selector) or "(none)"
        message = (
            f"no node matches the selector {selector} with its taints tolerated: label a node, or correct spec.nodes"
        )
        return [*steps, Step(hold=Blocker("NoMatchingNodes", message, stalled=True))]
    return [*steps, *(local_copy(seen, settings, manifest, node, now) for node in chosen)]


def _leaving(seen: Observed, settings: Settings, now: float) -> list[Step]:
    """Nodes that hold a copy and are no longer chosen."""
    staying = {node.name for node in chosen_nodes(seen)}
    holding = holders(seen)
    leaving = [node for node in holding if node.name not in staying]
    labels = removal.unlabel(seen, leaving)
    notices = tuple(EventRecord("NodeDeselected", f"{label.node}: no longer chosen") for label in labels)
    cleared = [removal.clear(seen, settings, node, now)[0] for node in leaving]
    helpers = Step(tuple(removal.leftover_helpers(seen, holding)))
    return [Step(tuple(labels), notices), *cleared, helpers]


def _limits(seen: Observed, settings: Settings) -> Step:
    """What the spec says of limits reaches the downloads that run; `sharing` hands out shares where there are any."""
    key, wanted = config_maps.input_key(seen, settings), limits_of(seen)
    pods = [pod for pod in seen.pods_of("fetch") if pod.key == key and not pod.deleting and pod.finished is None]
    changed = [pod for pod in pods if pod.limits != wanted]
    freed = [pod for pod in pods if pod.share is not None and settings.bandwidth is None]
    notices = tuple(EventRecord("LimitChanged", f"{pod.node or 'the claim'}: limits are {wanted}") for pod in changed)
    actions = [Annotate(pod.namespace, pod.name, names.ANNOTATION_LIMITS, wanted) for pod in changed]
    actions += [Annotate(pod.namespace, pod.name, names.ANNOTATION_SHARE, None) for pod in freed]
    return Step(tuple(actions), notices)


def _housekeeping(seen: Observed, settings: Settings) -> Step:
    """ConfigMaps of earlier specs go when no pod works by them any more."""
    current = {config_maps.input_name(seen, settings), config_maps.manifest_name(seen)}
    if any(pod.role in ("resolve", "fetch") and pod.key != config_maps.input_key(seen, settings) for pod in seen.pods):
        return Step()
    stale = sorted(seen.config_maps - current)
    return Step(tuple(Delete("ConfigMap", name, seen.namespace) for name in stale))
