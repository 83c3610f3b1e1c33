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
from modelferry.manifest import Digest
from modelferry.manifest.model import DIGEST_LENGTHS
from modelferry.manifest.paths import path_fault
from modelferry.manifest.pins import pin_fault
from modelferry.manifest.urls import url_fault
from modelferry.resource import API_VERSION, KIND
from modelferry.resource.fields import Faults, Fields
from modelferry.resource.spec import (
    DEFAULT_CONNECTIONS,
    MAX_CONNECTIONS,
    MAX_FILES,
    MAX_PINS,
    TLS,
    TLS_VERSIONS,
    Artifact,
    BundleReference,
    ExistingClaim,
    HTTPFile,
    HTTPSource,
    NodeLocal,
    Nodes,
    Spec,
    Toleration,
    Transfer,
)

_LABEL = re.compile(r"[a-z0-9]([-a-z0-9]{0,61}[a-z0-9])?")
_MAX_SIZE = 2**53  # what JSON numbers carry exactly


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
    faults = Faults()
    root = Fields(dict(document), "", faults)
    if (version := root.text("apiVersion")) != API_VERSION:
        root.fault("apiVersion", f"must be {API_VERSION}, not {version!r}")
    if (kind := root.text("kind")) != KIND:
        root.fault("kind", f"must be {KIND}, not {kind!r}")
    root.raw("status")
    metadata = Fields(root.raw("metadata"), "metadata", faults)
    name = metadata.text("name", required=True)
    if name and not _LABEL.fullmatch(name):
        metadata.fault(
            "name", "must be at most 63 characters of a-z, 0-9 and '-', and begin and end with a letter or digit"
        )
    namespace = metadata.text("namespace")
    spec = _spec(root.map("spec"))
    root.done()
    if faults.lines or spec is None:
        raise InvalidSpec((f"{where}: " if where else "") + "; ".join(faults.lines))
    return Artifact(name, namespace, spec)


def _spec(fields: Fields) -> Spec | None:
    source = _source(fields.map("source"))
    nodes = _nodes(fields.map("nodes"))
    storage = _storage(fields.map("storage"))
    transfer = _transfer(fields.map("transfer"))
    fields.done()
    return Spec(source, nodes, storage, transfer) if source else None


def _source(fields: Fields) -> HTTPSource | None:
    has_http = fields.has("http")
    http = fields.map("http")
    if not has_http:
        fields.faults.add(fields.path, "exactly one source is required: set spec.source.http")
    fields.done()
    has_files = http.has("files")
    files = [_file(Fields(item, path, fields.faults)) for path, item in http.items("files", MAX_FILES)]
    manifest_url = http.text("manifestURL")
    if manifest_url and (fault := url_fault(manifest_url)):
        http.fault("manifestURL", fault)
    if has_http and bool(manifest_url) == has_files:
        http.faults.add(http.path, "give files or manifestURL, not both and not none")
    elif has_files and not files:
        http.fault("files", "must list at least one file")
    http.done()
    seen: set[str] = set()
    for number, file in enumerate(files):
        if file.path in seen:
            http.fault(f"files[{number}].path", f"{file.path!r} is listed twice")
        seen.add(file.path)
    return HTTPSource(tuple(files), manifest_url) if has_http else None


def _file(fields: Fields) -> HTTPFile:
    path, url = fields.text("path", required=True), fields.text("url", required=True)
    if path and (fault := path_fault(path)):
        fields.fault("path", f"{path!r} {fault}")
    if url and (fault := url_fault(url)):
        fields.fault("url", fault)
    if fields.has("sha256") and fields.has("md5"):
        fields.fault("md5", "give sha256 or md5, not both")
    digests = [digest for name in DIGEST_LENGTHS if (digest := _digest(fields, name))]
    size = fields.number("size", None, 0, _MAX_SIZE)
    fields.done()
    return HTTPFile(path, url, digests[0] if digests else None, size)


def _digest(fields: Fields, algorithm: str) -> Digest | None:
    if not fields.has(algorithm):
        return None
    value = fields.text(algorithm)
    try:
        return Digest(algorithm, value)
    except ValueError:
        length = DIGEST_LENGTHS[algorithm]
        fields.fault(
            algorithm, f"must be {length} lower-case hexadecimal digits, not {len(value)} characters {value[:70]!r}"
        )
        return None


def _nodes(fields: Fields) -> Nodes:
    selector = fields.texts("selector")
    tolerations = []
    for path, item in fields.items("tolerations", 64):
        one = Fields(item, path, fields.faults)
        tolerations.append(
            Toleration(one.text("key"), one.text("operator", "Equal"), one.text("value"), one.text("effect"))
        )
        if tolerations[-1].operator not in ("Equal", "Exists"):
            one.fault("operator", "must be Equal or Exists")
        one.done()
    fields.done()
    return Nodes(selector, tuple(tolerations))


def _storage(fields: Fields) -> NodeLocal | ExistingClaim:
    has_claim, has_local = fields.has("claim"), fields.has("nodeLocal")
    claim, local = fields.map("claim"), fields.map("nodeLocal")
    if has_claim and has_local:
        fields.faults.add(fields.path, "give nodeLocal or claim, not both")
    name = claim.text("name", required=has_claim)
    for inner in (claim, local, fields):
        inner.done()
    return ExistingClaim(name) if has_claim else NodeLocal()


def _transfer(fields: Fields) -> Transfer:
    connections = fields.number("connections", DEFAULT_CONNECTIONS, 1, MAX_CONNECTIONS)
    tls = _tls(fields.map("tls"))
    fields.done()
    return Transfer(connections or DEFAULT_CONNECTIONS, tls)


def _tls(fields: Fields) -> TLS:
    allow_plain_http = fields.flag("allowPlainHTTP", False)
    oldest = fields.text("minVersion", "1.3")
    if oldest not in TLS_VERSIONS:
        fields.fault("minVersion", f'must be "1.2" or "1.3", not {oldest!r}')
    pins = []
    for path, pin in fields.items("pins", MAX_PINS):
        if fault := pin_fault(pin) if isinstance(pin, str) else "must be a string":
            fields.faults.add(path, fault)
        else:
            pins.append(pin)
    ca = _bundle(fields.map("ca")) if fields.has("ca") else None
    fields.done()
    return TLS(allow_plain_http, oldest, tuple(pins), ca)


def _bundle(fields: Fields) -> BundleReference | None:
    kinds = [kind for kind in ("configMap", "secret") if fields.has(kind)]
    inner = {kind: fields.map(kind) for kind in kinds}
    fields.done()
    if len(kinds) != 1:
        fields.faults.add(fields.path, "give configMap or secret, not both and not none")
    found = [
        BundleReference(kind, one.text("name", required=True), one.text("key", "ca.crt")) for kind, one in inner.items()
    ]
    for one in inner.values():
        one.done()
    return found[0] if len(found) == 1 else None
