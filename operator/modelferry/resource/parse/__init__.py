"""A ModelArtifact document into typed data. The API server has checked it by the CRD; a file on a machine nobody has.

The rules are the CRD's, with the same words; a test holds both against one table of wrong documents.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import yaml

from modelferry.errors import InvalidSpec
from modelferry.resource import API_VERSION, KIND
from modelferry.resource.fields import FieldErrors, Fields
from modelferry.resource.parse.mirror_fields import mirrors
from modelferry.resource.parse.secret_fields import auth
from modelferry.resource.parse.source_fields import source
from modelferry.resource.parse.transfer_fields import transfer
from modelferry.resource.spec import Artifact, ExistingClaim, NodeLocal, Nodes, Spec, Toleration

_LABEL = re.compile(r"[a-z0-9]([-a-z0-9]{0,61}[a-z0-9])?")
_VALUE = r"([A-Za-z0-9]([A-Za-z0-9_.-]*[A-Za-z0-9])?)?"
_TAINT = r"(([a-z0-9]([a-z0-9.-]*[a-z0-9])?/)?[A-Za-z0-9]([A-Za-z0-9_.-]{0,61}[A-Za-z0-9])?)?"
_EFFECTS = ("NoSchedule", "PreferNoSchedule", "NoExecute")


def load_artifact(path: Path) -> Artifact:
    """The one ModelArtifact in a YAML or JSON file. Raises InvalidSpec that names every fault."""
    try:
        documents = [document for document in yaml.safe_load_all(path.read_text()) if document is not None]
    except OSError as error:
        raise InvalidSpec(f"{path}: {error.strerror}") from error
    except (yaml.YAMLError, UnicodeDecodeError) as error:
        raise InvalidSpec(f"{path}: not YAML: {' '.join(str(error).split())}") from error
    ours = [document for document in documents if isinstance(document, dict) and document.get("kind") == KIND]
    if len(ours) != 1:
        raise InvalidSpec(f"{path}: holds {len(ours)} documents of kind {KIND}; give a file with exactly one")
    return parse_artifact(ours[0], where=str(path))


def parse_artifact(document: Mapping[str, Any], where: str = "") -> Artifact:
    """The artifact in a document. Raises InvalidSpec that names every fault; `where` is put before it."""
    errors = FieldErrors()
    root = Fields(dict(document), "", errors)
    if (version := root.text("apiVersion")) != API_VERSION:
        root.error("apiVersion", f"must be {API_VERSION}, not {version!r}")
    if (kind := root.text("kind")) != KIND:
        root.error("kind", f"must be {KIND}, not {kind!r}")
    root.raw("status")
    metadata = Fields(root.raw("metadata"), "metadata", errors)
    name = metadata.text("name", required=True)
    if name and not _LABEL.fullmatch(name):
        metadata.error(
            "name", "must be at most 63 characters of a-z, 0-9 and '-', and begin and end with a letter or digit"
        )
    namespace = metadata.text("namespace")
    spec = _spec(root.map("spec"))
    root.done()
    if errors.lines or spec is None:
        raise InvalidSpec((f"{where}: " if where else "") + "; ".join(errors.lines))
    return Artifact(name, namespace, spec)


def _spec(fields: Fields) -> Spec | None:
    found = source(fields.map("source"))
    nodes = _nodes(fields.map("nodes"))
    storage = _storage(fields.map("storage"))
    how = transfer(fields.map("transfer"))
    secret = auth(fields)
    others = mirrors(fields)
    fields.done()
    return Spec(found, nodes, storage, how, secret, others) if found else None


def _nodes(fields: Fields) -> Nodes:
    selector = fields.texts("selector")
    tolerations = []
    for path, item in fields.items("tolerations", 64):
        one = Fields(item, path, fields.errors)
        tolerations.append(
            Toleration(one.text("key"), one.text("operator", "Equal"), one.text("value"), one.text("effect"))
        )
        _check_toleration(tolerations[-1], one)
        one.done()
    fields.done()
    return Nodes(selector, tuple(tolerations))


def _check_toleration(found: Toleration, fields: Fields) -> None:
    """As the API server takes them in pods."""
    if not re.fullmatch(_TAINT, found.key) or len(found.key) > 317:
        fields.error("key", f"must be a taint's key, such as nvidia.com/gpu, not {found.key[:60]!r}")
    if found.operator not in ("Equal", "Exists"):
        fields.error("operator", "must be Equal or Exists")
    elif found.operator == "Exists" and found.value:
        fields.error("value", "must be left out where operator is Exists")
    elif found.operator == "Equal" and not found.key:
        fields.error("key", "may be left out only where operator is Exists")
    if not re.fullmatch(_VALUE, found.value) or len(found.value) > 63:
        fields.error("value", f"must be at most 63 letters, digits, '-', '_' and '.', not {found.value[:60]!r}")
    if found.effect not in ("", *_EFFECTS):
        fields.error("effect", f"must be {', '.join(_EFFECTS)}, or left out for all, not {found.effect!r}")


def _storage(fields: Fields) -> NodeLocal | ExistingClaim:
    has_claim, has_local = fields.has("claim"), fields.has("nodeLocal")
    claim, local = fields.map("claim"), fields.map("nodeLocal")
    if has_claim and has_local:
        fields.errors.add(fields.path, "give nodeLocal or claim, not both")
    name = claim.name("name", "claim") if has_claim else ""
    for inner in (claim, local, fields):
        inner.done()
    return ExistingClaim(name) if has_claim else NodeLocal()
