"""The two volumes over a node-local directory, whatever the number of nodes, and their claims.

The writer's volume may be mounted on every node. The reader's points at ``…/current`` and asks for the node label that
says that a verified copy is there: a pod that mounts the reader's claim is scheduled only to such nodes.

A volume names its claim (claimRef), and the claim is made when the volume is Available: made together, the binder may
miss the volume until its next resync, 15 s later. The claim does not name its volume: where it does, the binder's two
workers get in each other's way at every second claim (a conflict on the volume's status), and it waits for the resync
too; where it does not, the volume's worker queues the claim anew. So that such a claim takes no other volume, both are
of a storage class that nothing else uses. Both carry from the start the protection finalizers that Kubernetes would
add: an object that changes under the binder's hands is a conflict again.
"""

from __future__ import annotations

from modelferry.controller.children.metadata import labels, metadata
from modelferry.controller.facts import Object, Observed
from modelferry.controller.settings import Settings
from modelferry.manifest import Manifest
from modelferry.resource import names

_MIB = 1024 * 1024

#: The class of our volumes and claims. No StorageClass object of that name is needed: nothing is provisioned.
_CLASS = "modelferry"


def directory(seen: Observed) -> str:
    """The artifact's directory below the node's root."""
    return f"{seen.namespace}/{seen.name}"


def writer_volume(seen: Observed, settings: Settings, manifest: Manifest) -> Object:
    """The download pods' volume: any node that is a node."""
    anywhere = [{"key": "kubernetes.io/hostname", "operator": "Exists"}]
    path = f"{settings.node_root}/{directory(seen)}"
    return _volume(seen, manifest, "writer", path, names.writer_claim(seen.name), "ReadWriteMany", anywhere)


def reader_volume(seen: Observed, settings: Settings, manifest: Manifest) -> Object:
    """The inference pods' volume: nodes with a verified copy. ``ro`` keeps out a pod that sets fsGroup (no chown)."""
    ready = [{"key": names.ready_label(seen.namespace, seen.name), "operator": "Exists"}]
    path = f"{settings.node_root}/{directory(seen)}/current"
    body = _volume(seen, manifest, "reader", path, names.reader_claim(seen.name), "ReadOnlyMany", ready)
    body["spec"]["mountOptions"] = ["ro"]
    return body


def writer_claim(seen: Observed, manifest: Manifest) -> Object:
    """The download pods' claim."""
    return _claim(seen, manifest, names.writer_claim(seen.name), "ReadWriteMany")


def reader_claim(seen: Observed, manifest: Manifest) -> Object:
    """The inference pods' claim, named as the artifact."""
    return _claim(seen, manifest, names.reader_claim(seen.name), "ReadOnlyMany")


def _volume(
    seen: Observed, manifest: Manifest, side: str, path: str, claim: str, mode: str, nodes: list[Object]
) -> Object:
    name = names.volume(seen.namespace, seen.name, side)
    return {
        "apiVersion": "v1",
        "kind": "PersistentVolume",
        "metadata": {"name": name, "labels": labels(seen), "finalizers": ["kubernetes.io/pv-protection"]},
        "spec": {
            "capacity": {"storage": _capacity(manifest)},
            "accessModes": [mode],
            "persistentVolumeReclaimPolicy": "Retain",
            "storageClassName": _CLASS,
            "volumeMode": "Filesystem",
            "claimRef": {
                "apiVersion": "v1",
                "kind": "PersistentVolumeClaim",
                "namespace": seen.namespace,
                "name": claim,
            },
            "local": {"path": path},
            "nodeAffinity": {"required": {"nodeSelectorTerms": [{"matchExpressions": nodes}]}},
        },
    }


def _claim(seen: Observed, manifest: Manifest, name: str, mode: str) -> Object:
    return {
        "apiVersion": "v1",
        "kind": "PersistentVolumeClaim",
        "metadata": metadata(seen, name) | {"finalizers": ["kubernetes.io/pvc-protection"]},
        "spec": {
            "accessModes": [mode],
            "storageClassName": _CLASS,
            "volumeMode": "Filesystem",
            "resources": {"requests": {"storage": _capacity(manifest)}},
        },
    }


def _capacity(manifest: Manifest) -> str:
    return f"{max(1, -(-manifest.size // _MIB))}Mi"
