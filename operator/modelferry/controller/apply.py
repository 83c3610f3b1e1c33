"""Executes actions by API calls, in the plan's order: a later one may depend on an earlier one, so an error ends it."""

from __future__ import annotations

from collections.abc import Iterable

from modelferry.controller.actions import Action, AnnotatePod, Change, Create, Delete, EndPod, LabelNode, SetFinalizer
from modelferry.controller.facts import ArtifactFacts
from modelferry.controller.kube import Kube
from modelferry.controller.pod_diagnosis import END_DEADLINE
from modelferry.resource import KIND, names


async def apply_actions(kube: Kube, artifact: ArtifactFacts, actions: Iterable[Action]) -> None:
    """Execute `actions`; raises APIError at the first that the API server rejects."""
    for action in actions:
        match action:
            case SetFinalizer(present):
                await _set_finalizer(kube, artifact, present)
            case _:
                await apply_change(kube, action)


async def apply_change(kube: Kube, action: Change) -> None:
    """Execute an action that does not change the artifact itself. Raises APIError."""
    match action:
        case Create(body):
            await kube.create(body)
        case Delete(kind, name, namespace, uid, grace):
            await kube.delete(kind, name, namespace, uid=uid, grace=grace)
        case LabelNode(node, key, value):
            await kube.merge("Node", node, {"metadata": {"labels": {key: value}}})
        case AnnotatePod(namespace, pod, key, value):
            await annotate_pod(kube, namespace, pod, key, value)
        case EndPod(name, namespace):
            await kube.merge("Pod", name, {"spec": {"activeDeadlineSeconds": END_DEADLINE}}, namespace)


async def annotate_pod(kube: Kube, namespace: str, pod: str, key: str, value: str | None) -> None:
    """Set an annotation of a pod, or remove it; a pod that is gone is no error. Raises APIError."""
    await kube.merge("Pod", pod, {"metadata": {"annotations": {key: value}}}, namespace)


async def _set_finalizer(kube: Kube, artifact: ArtifactFacts, present: bool) -> None:
    """The resourceVersion in the patch is a precondition: no change by another writer is overwritten."""
    meta = artifact.document["metadata"]
    others = [name for name in meta.get("finalizers") or [] if name != names.FINALIZER]
    desired = [*others, names.FINALIZER] if present else others
    patch = {"metadata": {"finalizers": desired, "resourceVersion": meta["resourceVersion"]}}
    await kube.merge(KIND, artifact.name, patch, artifact.namespace)
