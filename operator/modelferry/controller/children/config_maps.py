"""The immutable ConfigMaps of an artifact, named after their content: the input of its pods, the resolved manifest, and
the record of a complete copy in an existing claim.

A changed spec makes a new input (except bandwidth and windows, which running pods receive); only a changed source makes
a new manifest. So the number of connections can be changed without resolving the source again, and a model stays pinned
when the branch of its source moves.
"""

from __future__ import annotations

import base64
import json

from modelferry.controller.children.metadata import metadata
from modelferry.controller.facts import ArtifactFacts, ClaimFacts, Object
from modelferry.controller.settings import Settings
from modelferry.manifest import Manifest, codec
from modelferry.resource import API_VERSION, KIND, names
from modelferry.resource.bandwidth_limits import without_live_fields
from modelferry.resource.hub_cache import PLAIN

ARTIFACT_KEY = "artifact.json"
CA_KEY = "ca.crt"
MANIFEST_KEY = "manifest.json.gz"


def input_key(document: Object, settings: Settings) -> str:
    """Identifies everything that a pod reads when it starts: a new key makes new pods, and a failed attempt is then
    retried immediately. Computed once, as `ArtifactFacts.input_key`."""
    meta, spec = document["metadata"], without_live_fields(document["spec"])
    default_proxy = [dict(settings.proxy), settings.proxy_secret]
    return names.fingerprint([meta["namespace"], meta["name"], spec, settings.trusted_ca, default_proxy])


def source_key(artifact: ArtifactFacts) -> str:
    """Identifies the source and the format of the manifest; not how the source is reached, which may change while the
    manifest stays pinned. With another format the source is resolved again."""
    return names.fingerprint([codec.VERSION, artifact.document["spec"].get("source")])


def input_name(artifact: ArtifactFacts) -> str:
    """The name of the input ConfigMap."""
    return f"{artifact.name}-input-{artifact.input_key}"


def manifest_name(artifact: ArtifactFacts) -> str:
    """The name of the manifest ConfigMap."""
    return f"{artifact.name}-manifest-{source_key(artifact)}"


def input_map(artifact: ArtifactFacts, settings: Settings) -> Object:
    """The resource as `modelferry pull` reads it, and the operator's additional certificate authorities."""
    document = {
        "apiVersion": API_VERSION,
        "kind": KIND,
        "metadata": {"name": artifact.name, "namespace": artifact.namespace},
        "spec": without_live_fields(artifact.document["spec"]),
    }
    data = {ARTIFACT_KEY: json.dumps(document, sort_keys=True)}
    if settings.trusted_ca:
        data[CA_KEY] = settings.trusted_ca
    return _immutable(artifact, input_name(artifact)) | {"data": data}


def manifest_map(artifact: ArtifactFacts, manifest: bytes) -> Object:
    """The encoded manifest that the resolve pod logged."""
    encoded = base64.b64encode(manifest).decode()
    return _immutable(artifact, manifest_name(artifact)) | {"binaryData": {MANIFEST_KEY: encoded}}


def copy_name(artifact: ArtifactFacts, manifest: Manifest, claim: ClaimFacts) -> str:
    """The name of the record that `claim` has a complete copy: another manifest, claim or layout has another name."""
    layout = artifact.valid_spec.layout
    laid_out = [] if layout == PLAIN else [layout]
    key = names.fingerprint([manifest_name(artifact), manifest.revision, claim.name, claim.uid, *laid_out])
    return f"{artifact.name}-copy-{key}"


def copy_map(artifact: ArtifactFacts, manifest: Manifest, claim: ClaimFacts) -> Object:
    """The record that `claim` has a complete copy. A finished pod would not do: it may be deleted at any time."""
    data = {"revision": manifest.revision, "claim": claim.name}
    return _immutable(artifact, copy_name(artifact, manifest, claim), "copy") | {"data": data}


def _immutable(artifact: ArtifactFacts, name: str, role: str = "") -> Object:
    return {"apiVersion": "v1", "kind": "ConfigMap", "metadata": metadata(artifact, name, role), "immutable": True}
