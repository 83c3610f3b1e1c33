"""Which nodes get the model: pure rules over labels and taints."""

from __future__ import annotations

from modelferry.controller.facts import NodeFacts, Observed, Taint
from modelferry.resource import names
from modelferry.resource.spec import Nodes, Toleration

#: Taints under this prefix tell of a passing state (not ready, cordoned, disk pressure): such a node is chosen, and
#: waits.
_PASSING = "node.kubernetes.io/"


def chosen(node: NodeFacts, spec: Nodes) -> bool:
    """Whether `node` is to hold the model: it carries the selector's labels and its lasting taints are tolerated."""
    if any(node.labels.get(key) != value for key, value in spec.selector):
        return False
    return all(taint.key.startswith(_PASSING) or tolerated(taint, spec.tolerations) for taint in node.taints)


def blocked(node: NodeFacts, spec: Nodes) -> str:
    """Why nothing can be started on a chosen node right now, or an empty string."""
    if not node.ready:
        return "the node is not ready"
    for taint in node.taints:
        if taint.effect != "PreferNoSchedule" and not tolerated(taint, spec.tolerations):
            return f"the node has the taint {taint.key}:{taint.effect}"
    return ""


def tolerated(taint: Taint, tolerations: tuple[Toleration, ...]) -> bool:
    """core/v1 Toleration.ToleratesTaint; a taint that only prefers is no hindrance."""
    return taint.effect == "PreferNoSchedule" or any(_matches(item, taint) for item in tolerations)


def _matches(toleration: Toleration, taint: Taint) -> bool:
    if toleration.effect and toleration.effect != taint.effect:
        return False
    if toleration.key and toleration.key != taint.key:
        return False
    if toleration.operator == "Exists":
        return True
    return bool(toleration.key) and toleration.value == taint.value


def chosen_nodes(seen: Observed) -> list[NodeFacts]:
    """The nodes that are to hold the model, by name."""
    assert seen.artifact is not None
    spec = seen.artifact.spec.nodes
    return sorted((node for node in seen.nodes if chosen(node, spec)), key=lambda node: node.name)


def holders(seen: Observed) -> list[NodeFacts]:
    """The nodes on which a directory of the artifact may stand, by name."""
    key = names.copy_label(seen.namespace, seen.name)
    return sorted((node for node in seen.nodes if key in node.labels), key=lambda node: node.name)
