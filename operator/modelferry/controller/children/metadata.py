"""Names, labels and owners of the objects that we create."""

from __future__ import annotations

from typing import Any

from modelferry.controller.facts import ArtifactFacts, Object
from modelferry.resource import API_VERSION, KIND, names


def labels(artifact: ArtifactFacts, role: str = "") -> dict[str, str]:
    """The labels of every object of one artifact: `observe` lists by them."""
    key, value = names.MANAGED_BY
    found = {key: value, names.LABEL_ARTIFACT: artifact.name, names.LABEL_NAMESPACE: artifact.namespace}
    return found | ({names.LABEL_ROLE: role} if role else {})


def owner(artifact: ArtifactFacts) -> Object:
    """The owner reference to the artifact, for objects in its own namespace."""
    return {"apiVersion": API_VERSION, "kind": KIND, "name": artifact.name, "uid": artifact.uid, "controller": True}


def metadata(artifact: ArtifactFacts, name: str, role: str = "", annotations: dict[str, str] | None = None) -> Object:
    """The metadata of an object in the artifact's namespace, owned by it."""
    body: dict[str, Any] = {
        "name": name,
        "namespace": artifact.namespace,
        "labels": labels(artifact, role),
        "ownerReferences": [owner(artifact)],
    }
    return body | ({"annotations": annotations} if annotations else {})
