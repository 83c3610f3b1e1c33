"""Parses a ModelArtifact document into typed data. The API server has validated it by the CRD; nothing has validated a
file for `modelferry pull`.

The rules and messages are those of the CRD: a test compares both with one table of wrong documents.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import yaml

from modelferry.errors import InvalidSpec
from modelferry.resource import API_VERSION, KIND
from modelferry.resource.hub_cache import LAYOUTS, PLAIN
from modelferry.resource.names import DNS_LABEL
from modelferry.resource.object_stores import OCISource, S3Source
from modelferry.resource.parse.header_fields import parse_headers
from modelferry.resource.parse.mirror_fields import parse_mirrors
from modelferry.resource.parse.secret_fields import parse_auth
from modelferry.resource.parse.source_fields import parse_source
from modelferry.resource.parse.transfer_fields import parse_transfer
from modelferry.resource.secret import SecretReference
from modelferry.resource.source import HuggingFaceSource, ModelScopeSource, Source
from modelferry.resource.spec import Artifact, ExistingClaim, MinReady, NodeLocal, Nodes, Spec, Toleration
from modelferry.resource.spec_fields import FieldErrors, Fields

_VALUE = r"([A-Za-z0-9]([A-Za-z0-9_.-]*[A-Za-z0-9])?)?"
_TAINT = r"(([a-z0-9]([a-z0-9.-]*[a-z0-9])?/)?[A-Za-z0-9]([A-Za-z0-9_.-]{0,61}[A-Za-z0-9])?)?"
_PERCENT = re.compile(r"([1-9][0-9]?|100)%")
#: The largest cluster that Kubernetes supports.
_MAX_NODES = 5000
_EFFECTS = ("NoSchedule", "PreferNoSchedule", "NoExecute")


def load_artifact(path: Path) -> Artifact:
    """The one ModelArtifact in a YAML or JSON file. Raises InvalidSpec with every error."""
    try:
        return read_artifact(path.read_text(), where=str(path))
    except OSError as error:
        raise InvalidSpec(f"{path}: {error.strerror}; give the file of a {KIND}") from error
    except UnicodeDecodeError as error:
        raise InvalidSpec(f"{path}: not YAML: it is not UTF-8 text; give the file of a {KIND}") from error


def read_artifact(text: str, where: str) -> Artifact:
    """The one ModelArtifact in the documents of `text`, YAML or JSON. Raises InvalidSpec, after the prefix `where`."""
    try:
        documents = [document for document in yaml.safe_load_all(text) if document is not None]
    except yaml.YAMLError as error:
        raise InvalidSpec(f"{where}: not YAML: {_yaml_error(error)}") from error
    kinds = [str(document.get("kind")) if isinstance(document, dict) else "" for document in documents]
    if kinds.count(KIND) != 1:
        raise InvalidSpec(f"{where}: {_other_kinds(kinds)}; it must have exactly one document with kind: {KIND}")
    return parse_artifact(documents[kinds.index(KIND)], where=where)


def _yaml_error(error: yaml.YAMLError) -> str:
    """The place and the problem, without the lines around it."""
    if not isinstance(error, yaml.MarkedYAMLError) or error.problem_mark is None:
        return "it has a character that YAML does not allow; save it as plain UTF-8 text"
    place = f"line {error.problem_mark.line + 1}, column {error.problem_mark.column + 1}"
    problem = " ".join(f"{error.context or ''} {error.problem or ''}".split())
    tab = "; YAML is indented by spaces, never by tabs" if "'\\t'" in problem else ""
    return f"{place}: {problem}{tab}"


def _other_kinds(kinds: list[str]) -> str:
    if not kinds:
        return "is empty"
    if count := kinds.count(KIND):
        return f"has {count} documents of kind {KIND}"
    others = ", ".join(sorted({kind[:60] if kind not in ("", "None") else "(none)" for kind in kinds})[:5])
    return f"has no {KIND} but {len(kinds)} other, of kind {others}"


def parse_artifact(document: Mapping[str, Any], where: str = "") -> Artifact:
    """The artifact in a document. Raises InvalidSpec with every error, after the prefix `where`."""
    errors = FieldErrors()
    root = Fields(dict(document), "", errors)
    if (version := root.text("apiVersion")) != API_VERSION:
        root.add_error("apiVersion", f"must be {API_VERSION}, not {version!r}")
    if (kind := root.text("kind")) != KIND:
        root.add_error("kind", f"must be {KIND}, not {kind!r}")
    root.take("status")
    metadata = Fields(root.take("metadata"), "metadata", errors)
    name = metadata.text("name", required=True)
    if name and not DNS_LABEL.fullmatch(name):
        metadata.add_error(
            "name", "must be at most 63 characters of a-z, 0-9 and '-', and begin and end with a letter or digit"
        )
    namespace = metadata.text("namespace")
    spec = _spec(root.map("spec"))
    root.reject_unknown()
    if errors.messages or spec is None:
        raise InvalidSpec((f"{where}: " if where else "") + "; ".join(errors.messages))
    return Artifact(name, namespace, spec)


def _spec(fields: Fields) -> Spec | None:
    source = parse_source(fields.map("source"))
    nodes_fields = fields.map("nodes")
    has_min_ready = nodes_fields.has("minReady")
    nodes = _nodes(nodes_fields)
    storage = _storage(fields.map("storage"))
    if has_min_ready and isinstance(storage, ExistingClaim):
        nodes_fields.add_error("minReady", "is for storage.nodeLocal: a claim has one copy")
    transfer = parse_transfer(fields.map("transfer"))
    auth = parse_auth(fields)
    headers = parse_headers(fields, _credential_fields(source, auth))
    mirrors = parse_mirrors(fields)
    layout = _layout(fields, source)
    fields.reject_unknown()
    return Spec(source, nodes, storage, transfer, auth, mirrors, headers, layout) if source else None


def _credential_fields(source: Source | None, auth: SecretReference | None) -> tuple[str, ...]:
    """The header fields, in lower case, that the source's credential sets; buckets and registries may have one without
    `auth`."""
    if isinstance(source, ModelScopeSource) and auth:
        return ("authorization", "cookie")
    return ("authorization",) if auth or isinstance(source, S3Source | OCISource) else ()


def _layout(fields: Fields, source: Source | None) -> str:
    layout = fields.text("layout", PLAIN)
    if layout not in LAYOUTS:
        fields.add_error("layout", f"must be {', '.join(LAYOUTS[:-1])} or {LAYOUTS[-1]}, not {layout[:60]!r}")
    elif layout != PLAIN and source is not None and not isinstance(source, HuggingFaceSource | ModelScopeSource):
        fields.add_error(
            "layout", "needs source.huggingFace or source.modelScope, which give the repository its name; use plain"
        )
    return layout


def _nodes(fields: Fields) -> Nodes:
    selector = fields.string_map("selector")
    tolerations = []
    for path, item in fields.items("tolerations", 64):
        one = Fields(item, path, fields.errors)
        tolerations.append(
            Toleration(one.text("key"), one.text("operator", "Equal"), one.text("value"), one.text("effect"))
        )
        _check_toleration(tolerations[-1], one)
        one.reject_unknown()
    min_ready = _min_ready(fields)
    fields.reject_unknown()
    return Nodes(selector, tuple(tolerations), min_ready)


def _min_ready(fields: Fields) -> MinReady:
    value = fields.take("minReady")
    if value is None:
        return MinReady()
    if isinstance(value, int) and not isinstance(value, bool) and 1 <= value <= _MAX_NODES:
        return MinReady(value, percent=False)
    if isinstance(value, str) and (percent := _PERCENT.fullmatch(value)):
        return MinReady(int(percent[1]))
    fields.add_error("minReady", f'must be a number of nodes, 1 to {_MAX_NODES}, or a percentage, "1%" to "100%"')
    return MinReady()


def _check_toleration(found: Toleration, fields: Fields) -> None:
    """The rules of the API server for a pod's tolerations."""
    if not re.fullmatch(_TAINT, found.key) or len(found.key) > 317:
        fields.add_error("key", f"must be a taint's key, such as nvidia.com/gpu, not {found.key[:60]!r}")
    if found.operator not in ("Equal", "Exists"):
        fields.add_error("operator", "must be Equal or Exists")
    elif found.operator == "Exists" and found.value:
        fields.add_error("value", "must be left out where operator is Exists")
    elif found.operator == "Equal" and not found.key:
        fields.add_error("key", "may be left out only where operator is Exists")
    if not re.fullmatch(_VALUE, found.value) or len(found.value) > 63:
        fields.add_error("value", f"must be at most 63 letters, digits, '-', '_' and '.', not {found.value[:60]!r}")
    if found.effect not in ("", *_EFFECTS):
        fields.add_error("effect", f"must be {', '.join(_EFFECTS)}, or left out for all, not {found.effect!r}")


def _storage(fields: Fields) -> NodeLocal | ExistingClaim:
    has_claim, has_local = fields.has("claim"), fields.has("nodeLocal")
    claim, local = fields.map("claim"), fields.map("nodeLocal")
    if has_claim and has_local:
        fields.errors.add(fields.path, "give nodeLocal or claim, not both")
    name = claim.name("name", "claim") if has_claim else ""
    for inner in (claim, local, fields):
        inner.reject_unknown()
    return ExistingClaim(name) if has_claim else NodeLocal()
