"""Which nodes get the model: pure rules over labels and taints."""

from __future__ import annotations

from collections.abc import Iterable

from modelferry.controller.facts import ArtifactFacts, NodeFacts, Observed, Taint
from modelferry.resource import names
from modelferry.resource.spec import Nodes, Toleration

#: Kubernetes sets taints with this prefix for a temporary condition (not ready, cordoned, disk pressure): such a node
#: stays selected, and its download waits.
_TEMPORARY_TAINTS = "node.kubernetes.io/"
_CORDONED = "node.kubernetes.io/unschedulable"


def is_selected(node: NodeFacts, spec: Nodes) -> bool:
    """Whether `node` has to hold the model: it matches the selector, and its permanent taints are tolerated."""
    if any(node.labels.get(key) != value for key, value in spec.selector):
        return False
    return all(taint.key.startswith(_TEMPORARY_TAINTS) or tolerated(taint, spec.tolerations) for taint in node.taints)


def blocked_reason(node: NodeFacts, spec: Nodes) -> str:
    """Why no pod can start on a selected node now; empty if one can."""
    if not node.ready:
        return "the node is not ready"
    for taint in node.taints:
        if taint.effect != "PreferNoSchedule" and not tolerated(taint, spec.tolerations):
            if taint.key == _CORDONED:
                return f"the node is cordoned: run kubectl uncordon {node.name}, or lower spec.nodes.minReady"
            return f"the node has the taint {taint.key}:{taint.effect}"
    return ""


def tolerated(taint: Taint, tolerations: tuple[Toleration, ...]) -> bool:
    """core/v1 Toleration.ToleratesTaint; PreferNoSchedule is always tolerated."""
    return taint.effect == "PreferNoSchedule" or any(_matches(item, taint) for item in tolerations)


def _matches(toleration: Toleration, taint: Taint) -> bool:
    if toleration.effect and toleration.effect != taint.effect:
        return False
    if toleration.key and toleration.key != taint.key:
        return False
    if toleration.operator == "Exists":
        return True
    return bool(toleration.key) and toleration.value == taint.value


def selected_nodes(observed: Observed) -> list[NodeFacts]:
    """The nodes that have to hold the model, by name."""
    spec = observed.artifact.valid_spec.nodes
    return _by_name(node for node in observed.nodes if is_selected(node, spec))


def nodes_with_copy(artifact: ArtifactFacts, nodes: Iterable[NodeFacts]) -> list[NodeFacts]:
    """Those of `nodes` on which a directory of the artifact may exist, by name."""
    key = names.copy_label(artifact.namespace, artifact.name)
    return _by_name(node for node in nodes if key in node.labels)


def deselected_nodes(artifact: ArtifactFacts, nodes: Iterable[NodeFacts]) -> list[NodeFacts]:
    """Those of `nodes` that may hold a copy and are not selected any more, by name."""
    spec = artifact.valid_spec.nodes
    return [node for node in nodes_with_copy(artifact, nodes) if not is_selected(node, spec)]


def _by_name(nodes: Iterable[NodeFacts]) -> list[NodeFacts]:
    return sorted(nodes, key=lambda node: node.name)
