"""The deletion of artifacts without the operator: what has to be deleted, and which directories stay. Pure.

The operator deletes an artifact step by step, and its directories last. Without it nothing can reach a node's disk, so
the plan has only objects of the API, and names the directories for a person.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass

from modelferry.controller.actions import Change, Delete, LabelNode
from modelferry.controller.facts import ArtifactFacts, Object
from modelferry.controller.settings import Settings
from modelferry.resource import KIND, names

#: The kinds of our objects, without the artifacts, in the order in which they are deleted.
OWNED_KINDS = ("Pod", "PersistentVolumeClaim", "ConfigMap", "PersistentVolume")


@dataclass(frozen=True, slots=True, order=True)
class Directory:
    """A directory with the files of an artifact on a node."""

    node: str
    path: str


@dataclass(frozen=True, slots=True)
class CleanupPlan:
    """``artifacts`` lose our finalizer and are deleted. Then ``actions`` follow in order. ``directories`` stay."""

    artifacts: tuple[ArtifactFacts, ...]
    actions: tuple[Change, ...]
    directories: tuple[Directory, ...]


def plan_cleanup(objects: Mapping[str, Sequence[Object]], namespace: str = "") -> CleanupPlan:
    """`objects` by kind: the ModelArtifacts, the Nodes, and of OWNED_KINDS those with our labels. `namespace` limits
    the plan to the artifacts of one namespace; empty: all."""
    artifacts = [ArtifactFacts(document, None) for document in objects[KIND]]
    actions: list[Change] = []
    for kind in OWNED_KINDS:
        metas = [one["metadata"] for one in objects[kind] if _is_of(one, namespace)]
        actions += [Delete(kind, meta["name"], meta.get("namespace", "")) for meta in metas]
    labels = [
        (node["metadata"]["name"], key, found)
        for node in objects["Node"]
        for key in sorted(node["metadata"].get("labels") or {})
        if (found := names.parse_node_label(key)) is not None and namespace in ("", found.namespace)
    ]
    # An operator that is installed later looks for the directories on these nodes again.
    actions += [LabelNode(node, names.CHECKED_LABEL, None) for node in sorted({node for node, *_ in labels})]
    # The labels last: they are the only record of the directories, also for the next run.
    actions += [LabelNode(node, key, None) for node, key, _ in labels]
    root = _node_root(objects["PersistentVolume"])
    directories = {Directory(node, f"{root}/{found.namespace}/{found.artifact}") for node, _, found in labels}
    return CleanupPlan(
        tuple(one for one in artifacts if namespace in ("", one.namespace)), tuple(actions), tuple(sorted(directories))
    )


def _is_of(owned: Object, namespace: str) -> bool:
    labels = owned["metadata"].get("labels") or {}
    return names.LABEL_ARTIFACT in labels and namespace in ("", labels.get(names.LABEL_NAMESPACE))


def _node_root(volumes: Iterable[Object]) -> str:
    """The chart's nodeRoot, as the volumes have it; its default if there is none."""
    for volume in volumes:
        labels, local = volume["metadata"].get("labels") or {}, volume["spec"].get("local") or {}
        below = f"/{labels.get(names.LABEL_NAMESPACE)}/{labels.get(names.LABEL_ARTIFACT)}"
        path = str(local.get("path", "")).removesuffix("/current")
        if path.endswith(below):
            return path.removesuffix(below)
    return Settings("", "").node_root
