"""Taking a copy off a node: label first (no new consumer comes), then wait for consumers, then the directory."""

from __future__ import annotations

from modelferry.controller import pod_attempts
from modelferry.controller.actions import Action, Create, Label
from modelferry.controller.children.pods import helper_pod
from modelferry.controller.facts import NodeFacts, Observed
from modelferry.controller.pod_attempts import Done, Failed, Going, Start
from modelferry.controller.settings import Settings
from modelferry.controller.states import Step
from modelferry.resource import names

_LOOK = 3.0


def unlabel(seen: Observed, nodes: list[NodeFacts]) -> list[Label]:
    """Takes the ready label off `nodes`."""
    key = names.ready_label(seen.namespace, seen.name)
    return [Label(node.name, key, None) for node in nodes if key in node.labels]


def clear(seen: Observed, settings: Settings, node: NodeFacts, now: float) -> tuple[Step, str]:
    """Removes the directory on `node`, one step further; and what this waits for, as the end of a sentence."""
    if users := seen.consumers.get(node.name):
        return Step(again=_LOOK), f"pod {users[0]} on {node.name} uses the model"
    if any(pod.role in ("fetch", "prepare") for pod in seen.pods if pod.node == node.name):
        return Step(again=_LOOK), f"the download pod on {node.name} is ending"
    job, drops = pod_attempts.judge(seen.pods_of("remove", node.name), "", now)
    match job:
        case Done(pod, _):
            gone = Label(node.name, names.copy_label(seen.namespace, seen.name), None)
            return Step((*drops, gone, pod_attempts.delete_pod(pod)), again=0.0), ""
        case Start(_) if not node.ready:
            return Step(tuple(drops), again=_LOOK), f"node {node.name} is not ready; its directory stands there yet"
        case Start(attempt):
            create = Create(helper_pod(seen, settings, "remove", node.name, attempt))
            return Step((*drops, create)), f"the directory on {node.name} is being removed"
        case Going(pod):
            why = pod.trouble or f"the directory on {node.name} is being removed"
            why = why if node.ready else f"node {node.name} is not ready; its directory stands there yet"
            return Step(tuple(drops), again=_LOOK), why
        case Failed(_, outcome, wait):
            return Step(tuple(drops), again=wait), f"the directory on {node.name} cannot be removed: {outcome.message}"


def leftover_helpers(seen: Observed, holders: list[NodeFacts]) -> list[Action]:
    """Deletes removal pods whose work is done or whose node is gone."""
    names_ = {node.name for node in holders}
    existing = {node.name for node in seen.nodes}
    strays = [pod for pod in seen.pods_of("remove") if pod.node not in names_ and not pod.deleting]
    return [pod_attempts.delete_pod(pod, at_once=pod.node not in existing) for pod in strays]
