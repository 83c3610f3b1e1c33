"""Two immutable ConfigMaps of an artifact, named by what they hold: the input of its pods, and the resolved manifest.

A changed spec makes a new input (but for bandwidth and windows, which reach the pods that run); only a changed source
makes a new manifest. So the number of streams can be changed without asking the source again, and what `main` points at
today does not slip into a model that was pinned yesterday.
"""

from __future__ import annotations

import base64
import json

from modelferry.controller.children.metadata import metadata
from modelferry.controller.facts import Object, Observed
from modelferry.controller.settings import Settings
from modelferry.manifest import codec
from modelferry.resource import API_VERSION, KIND, names
from modelferry.resource.bandwidth_limits import settled

ARTIFACT_KEY = "artifact.json"
CA_KEY = "ca.crt"
MANIFEST_KEY = "manifest.json.gz"


def input_key(seen: Observed, settings: Settings) -> str:
    """Stands for everything that a pod works by from its start: where it changes, there are new pods, and one that
    failed is tried anew at once."""
    default = [dict(settings.proxy), settings.proxy_secret]
    return names.fingerprint([seen.namespace, seen.name, settled(seen.document["spec"]), settings.trusted_ca, default])


def source_key(seen: Observed) -> str:
    """Stands for the source and the manifest's format; not for how the source is reached, which may change under a
    pinned manifest. A manifest of an older format keeps its own name, so that the source is resolved again."""
    return names.fingerprint([codec.VERSION, seen.document["spec"].get("source")])


def input_name(seen: Observed, settings: Settings) -> str:
    """The name of the input ConfigMap."""
    return f"{seen.name}-input-{input_key(seen, settings)}"


def manifest_name(seen: Observed) -> str:
    """The name of the manifest ConfigMap."""
    return f"{seen.name}-manifest-{source_key(seen)}"


def input_map(seen: Observed, settings: Settings) -> Object:
    """The resource as `modelferry pull` would read it, and the operator's further authorities."""
    document = {
        "apiVersion": API_VERSION,
        "kind": KIND,
        "metadata": {"name": seen.name, "namespace": seen.namespace},
        "spec": settled(seen.document["spec"]),
    }
    data = {ARTIFACT_KEY: json.dumps(document, sort_keys=True)}
    if settings.trusted_ca:
        data[CA_KEY] = settings.trusted_ca
    return _immutable(seen, input_name(seen, settings)) | {"data": data}


def manifest_map(seen: Observed, manifest: bytes) -> Object:
    """The manifest that the resolve pod printed."""
    encoded = base64.b64encode(manifest).decode()
    return _immutable(seen, manifest_name(seen)) | {"binaryData": {MANIFEST_KEY: encoded}}


def _immutable(seen: Observed, name: str) -> Object:
    return {"apiVersion": "v1", "kind": "ConfigMap", "metadata": metadata(seen, name), "immutable": True}
