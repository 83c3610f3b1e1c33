"""Which nodes get the model: pure rules over labels and taints."""

from __future__ import annotations

from collections.abc import Iterable
from math import inf

from modelferry.controller.facts import ArtifactFacts, NodeFacts, Observed, PodFacts, Taint, pods_of
from modelferry.controller.pod_attempts import NotStarted, evaluate
from modelferry.manifest import Manifest
from modelferry.resource import names
from modelferry.resource.hub_cache import PLAIN
from modelferry.resource.spec import ExistingClaim, Nodes, Toleration

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


def untolerated(nodes: Iterable[NodeFacts], spec: Nodes) -> list[str]:
    """The taints of `nodes` that keep pods away, as key:effect."""
    taints = (taint for node in nodes for taint in node.taints)
    return sorted({f"{taint.key}:{taint.effect}" for taint in taints if not tolerated(taint, spec.tolerations)})


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


def copy_value(artifact: ArtifactFacts, node: NodeFacts) -> str:
    """The value of the copy label of a copy that is verified since the node's boot, and laid out as the spec says. With
    another value, a download pod verifies the copy and lays it out."""
    layout = artifact.spec.layout if artifact.spec is not None else PLAIN
    return node.boot if layout == PLAIN else f"{node.boot}-{layout}".lstrip("-")


def is_settled(artifact: ArtifactFacts, node: NodeFacts, revision: str) -> bool:
    """Whether the labels of `node` say that it has a copy of `revision` which was verified since its last boot, in the
    layout of the spec."""
    ready, copy = (
        names.ready_label(artifact.namespace, artifact.name),
        names.copy_label(artifact.namespace, artifact.name),
    )
    return node.labels.get(ready) == revision and node.labels.get(copy) == copy_value(artifact, node)


def may_start_download(
    artifact: ArtifactFacts, nodes: Iterable[NodeFacts], pods: Iterable[PodFacts], manifest: Manifest | None
) -> bool:
    """Whether the next plan may create a download pod, however much time passes until then."""
    if manifest is None or artifact.spec is None:
        return False
    if isinstance(artifact.spec.storage, ExistingClaim):
        wanted = [""]
    else:
        selected = (node for node in nodes if is_selected(node, artifact.spec.nodes))
        wanted = [node.name for node in selected if not is_settled(artifact, node, manifest.revision)]
    pods = tuple(pods)
    attempts = (evaluate(pods_of(pods, "fetch", node), artifact.input_key, inf)[0] for node in wanted)
    return any(isinstance(attempt, NotStarted) for attempt in attempts)


def _by_name(nodes: Iterable[NodeFacts]) -> list[NodeFacts]:
    return sorted(nodes, key=lambda node: node.name)
