"""Two volumes over a node-local directory, for any number of nodes, and their claims.

The writer's volume can be mounted on every node. The reader's points to ``…/current`` and requires the node label of a
verified copy: a pod that mounts the reader's claim is scheduled to such nodes only.

A volume names its claim (claimRef), and the claim is created when the volume is Available: if both are created at once,
the binder may miss the volume until its next resync, 15 s later. The claim does not name its volume: if it did, the
binder's two workers would conflict on the volume's status for every second claim, which then waits for the resync too;
if not, the volume's worker queues the claim again. Both have a storage class that nothing else uses, so that such a
claim binds to no other volume. Both are created with the protection finalizers that Kubernetes would add: an update
while the binder works is another conflict.
"""

from __future__ import annotations

from modelferry.controller.children.metadata import labels, metadata
from modelferry.controller.facts import ArtifactFacts, Object
from modelferry.controller.settings import Settings
from modelferry.manifest import Manifest
from modelferry.resource import names

_MIB = 1024 * 1024

#: The class of our volumes and claims. It needs no StorageClass object: nothing is provisioned.
_CLASS = "modelferry"


def directory(artifact: ArtifactFacts) -> str:
    """The artifact's directory below the node's root."""
    return f"{artifact.namespace}/{artifact.name}"


def writer_volume(artifact: ArtifactFacts, settings: Settings, manifest: Manifest) -> Object:
    """The download pods' volume, for every node."""
    every_node = [{"key": "kubernetes.io/hostname", "operator": "Exists"}]
    path = f"{settings.node_root}/{directory(artifact)}"
    return _volume(artifact, manifest, "writer", path, names.writer_claim(artifact.name), "ReadWriteMany", every_node)


def reader_volume(artifact: ArtifactFacts, settings: Settings, manifest: Manifest) -> Object:
    """The inference pods' volume, for nodes with a verified copy. ``ro``: a pod that sets fsGroup must not chown it."""
    ready = [{"key": names.ready_label(artifact.namespace, artifact.name), "operator": "Exists"}]
    path = f"{settings.node_root}/{directory(artifact)}/current"
    body = _volume(artifact, manifest, "reader", path, names.reader_claim(artifact.name), "ReadOnlyMany", ready)
    body["spec"]["mountOptions"] = ["ro"]
    return body


def writer_claim(artifact: ArtifactFacts, manifest: Manifest) -> Object:
    """The download pods' claim."""
    return _claim(artifact, manifest, names.writer_claim(artifact.name), "ReadWriteMany")


def reader_claim(artifact: ArtifactFacts, manifest: Manifest) -> Object:
    """The inference pods' claim, named as the artifact."""
    return _claim(artifact, manifest, names.reader_claim(artifact.name), "ReadOnlyMany")


def _volume(
    artifact: ArtifactFacts, manifest: Manifest, side: str, path: str, claim: str, mode: str, nodes: list[Object]
) -> Object:
    name = names.volume(artifact.namespace, artifact.name, side)
    return {
        "apiVersion": "v1",
        "kind": "PersistentVolume",
        "metadata": {"name": name, "labels": labels(artifact), "finalizers": ["kubernetes.io/pv-protection"]},
        "spec": {
            "capacity": {"storage": _capacity(manifest)},
            "accessModes": [mode],
            "persistentVolumeReclaimPolicy": "Retain",
            "storageClassName": _CLASS,
            "volumeMode": "Filesystem",
            "claimRef": {
                "apiVersion": "v1",
                "kind": "PersistentVolumeClaim",
                "namespace": artifact.namespace,
                "name": claim,
            },
            "local": {"path": path},
            "nodeAffinity": {"required": {"nodeSelectorTerms": [{"matchExpressions": nodes}]}},
        },
    }


def _claim(artifact: ArtifactFacts, manifest: Manifest, name: str, mode: str) -> Object:
    return {
        "apiVersion": "v1",
        "kind": "PersistentVolumeClaim",
        "metadata": metadata(artifact, name) | {"finalizers": ["kubernetes.io/pvc-protection"]},
        "spec": {
            "accessModes": [mode],
            "storageClassName": _CLASS,
            "volumeMode": "Filesystem",
            "resources": {"requests": {"storage": _capacity(manifest)}},
        },
    }


def _capacity(manifest: Manifest) -> str:
    return f"{max(1, -(-manifest.size // _MIB))}Mi"
