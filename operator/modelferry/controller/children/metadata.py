"""Names, labels and owners of what we make."""

from __future__ import annotations

from typing import Any

from modelferry.controller.facts import Object, Observed
from modelferry.resource import API_VERSION, KIND, names


def labels(seen: Observed, role: str = "") -> dict[str, str]:
    """The labels of everything of one artifact; the ones that `observe` lists by."""
    key, value = names.MANAGED_BY
    found = {key: value, names.LABEL_ARTIFACT: seen.name, names.LABEL_NAMESPACE: seen.namespace}
    return found | ({names.LABEL_ROLE: role} if role else {})


def owner(seen: Observed) -> Object:
    """The owner reference to the artifact, for objects in its own namespace."""
    return {"apiVersion": API_VERSION, "kind": KIND, "name": seen.name, "uid": seen.uid, "controller": True}


def metadata(seen: Observed, name: str, role: str = "", annotations: dict[str, str] | None = None) -> Object:
    """The metadata of an object in the artifact's namespace, owned by it."""
    body: dict[str, Any] = {
        "name": name,
        "namespace": seen.namespace,
        "labels": labels(seen, role),
        "ownerReferences": [owner(seen)],
    }
    return body | ({"annotations": annotations} if annotations else {})
