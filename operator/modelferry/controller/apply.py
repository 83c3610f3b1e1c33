"""Actions into API calls, in the plan's order: a later action may need an earlier one, so the first failure ends it."""

from __future__ import annotations

from collections.abc import Iterable

from modelferry.controller.actions import Action, Annotate, Create, Delete, Finalizer, Label
from modelferry.controller.facts import Observed
from modelferry.controller.kube import Kube
from modelferry.resource import KIND, names


async def carry_out(kube: Kube, seen: Observed, actions: Iterable[Action]) -> None:
    """Carry out `actions`; raises APIError at the first that the API server refuses."""
    for action in actions:
        match action:
            case Create(body):
                await kube.create(body)
            case Delete(kind, name, namespace, uid, grace):
                await kube.delete(kind, name, namespace, uid=uid, grace=grace)
            case Label(node, key, value):
                await kube.merge("Node", node, {"metadata": {"labels": {key: value}}})
            case Annotate(namespace, pod, key, value):
                await annotate(kube, namespace, pod, key, value)
            case Finalizer(present):
                await _finalizer(kube, seen, present)


async def annotate(kube: Kube, namespace: str, pod: str, key: str, value: str | None) -> None:
    """Set an annotation of a pod, or remove it; a pod that is gone is no error. Raises APIError."""
    await kube.merge("Pod", pod, {"metadata": {"annotations": {key: value}}}, namespace)


async def _finalizer(kube: Kube, seen: Observed, present: bool) -> None:
    """Only while nobody else changed the list: the resourceVersion in a patch is a precondition."""
    meta = seen.document["metadata"]
    others = [name for name in meta.get("finalizers") or [] if name != names.FINALIZER]
    wanted = [*others, names.FINALIZER] if present else others
    patch = {"metadata": {"finalizers": wanted, "resourceVersion": meta["resourceVersion"]}}
    await kube.merge(KIND, seen.name, patch, seen.namespace)
