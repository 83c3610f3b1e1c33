"""Reads an artifact's manifest: the files that it lists. Pure.

OCI Image Format Specification 1.1 (manifest, index, descriptor), ORAS's annotations, CNCF's ModelPack specification.
Layers without a title have names by their media types (`sources.oci_names`).
"""

from __future__ import annotations

import hashlib
import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from modelferry.errors import InvalidSpec, ServerMisbehaves
from modelferry.manifest import Digest
from modelferry.manifest.paths import path_error
from modelferry.sources.oci_names import TENSOR, archive_ending, base_type, names
from modelferry.values.untrusted_json import parse_json

OCI_MANIFEST = "application/vnd.oci.image.manifest.v1+json"
OCI_INDEX = "application/vnd.oci.image.index.v1+json"
DOCKER_MANIFEST = "application/vnd.docker.distribution.manifest.v2+json"
DOCKER_LIST = "application/vnd.docker.distribution.manifest.list.v2+json"
#: The supported media types, as an Accept field's value.
ACCEPTED = ", ".join((OCI_MANIFEST, OCI_INDEX, DOCKER_MANIFEST, DOCKER_LIST))

#: Annotations with a layer's file name: ORAS and plain OCI, and ModelPack.
_TITLES = ("org.opencontainers.image.title", "org.cncf.model.filepath")
#: ModelPack's annotation with a file's name and more, as JSON.
_METADATA = "org.cncf.model.file.metadata+json"
#: ORAS packed a directory.
_UNPACK = "io.deis.oras.content.unpack"
_EMPTY = "application/vnd.oci.empty.v1+json"
_IMAGE_CONFIGS = ("application/vnd.oci.image.config.v1+json", "application/vnd.docker.container.image.v1+json")
_DIGEST = re.compile(r"sha256:[0-9a-f]{64}")
_UNSUPPORTED = "UnsupportedMediaType"


@dataclass(frozen=True, slots=True)
class Layer:
    """A layer that is a file: its path, size in bytes and SHA-256, which is also its name in the registry."""

    path: str
    size: int
    digest: Digest


def digest_of(body: bytes) -> str:
    """A manifest's digest, by which it is named."""
    return f"sha256:{hashlib.sha256(body).hexdigest()}"


def parse_manifest(body: bytes, media_type: str, name: str, *, keep_archives: bool = False) -> tuple[Layer, ...] | str:
    """The files of a manifest, or the digest of the one manifest that an index holds. `name`: the artifact, for errors.
    `keep_archives`: an archive is a file, too.

    Raises InvalidSpec (reason UnsupportedMediaType) where it is not an artifact of plain files, ServerMisbehaves where
    it is not a manifest.
    """
    try:
        document = parse_json(body)
    except ValueError:
        document = None
    if not isinstance(document, dict):
        raise ServerMisbehaves(f"{name}: the manifest is not JSON; is this a registry?")
    kind = document.get("mediaType") or media_type.partition(";")[0].strip()
    if kind in (OCI_INDEX, DOCKER_LIST):
        return _only(document, name)
    if kind not in (OCI_MANIFEST, DOCKER_MANIFEST):
        # Not the type in the response's Content-Type: no message has a field's value.
        declared = document.get("mediaType")
        of = f"of type {str(declared)[:80]!r}" if declared else "without a supported mediaType or Content-Type"
        raise InvalidSpec(f"{name}: a manifest {of} is not supported; push an OCI artifact", reason=_UNSUPPORTED)
    return _layers(document, name, keep_archives=keep_archives)


def _only(index: Mapping[str, Any], name: str) -> str:
    found = [item for item in _descriptors(index, "manifests", name) if not _is_attestation(item)]
    if len(found) != 1:
        names = ", ".join(str(item.get("digest"))[:19] + "…" for item in found[:3])
        raise InvalidSpec(
            f"{name} is an index of {len(found)} manifests ({names}); name one of them by @sha256:…",
            reason=_UNSUPPORTED,
        )
    return _digest(found[0], name)


def _layers(manifest: Mapping[str, Any], name: str, *, keep_archives: bool) -> tuple[Layer, ...]:
    config = manifest.get("config")
    image = isinstance(config, dict) and config.get("mediaType") in _IMAGE_CONFIGS
    layers = [item for item in _descriptors(manifest, "layers", name) if item.get("mediaType") != _EMPTY]
    if not layers:
        raise InvalidSpec(
            f"{name} has no layer that is a file; push files, each as a layer (oras push does it)", reason=_UNSUPPORTED
        )
    titles = [_title(item) for item in layers]
    untitled = iter(names([_kind(item) for item, title in zip(layers, titles, strict=True) if not title]))
    found: dict[str, Layer] = {}
    for number, (item, title) in enumerate(zip(layers, titles, strict=True)):
        path = title or next(untitled)
        if not path:
            raise _without_title(number, _kind(item), name, image)
        if ending := archive_ending(_kind(item), unpack=_unpacks(item)):
            kept = path if path.endswith(ending) else path + ending
            if not keep_archives:
                raise _archive(path, kept, name)
            path = kept
        if path in found:
            raise InvalidSpec(f"{name}: two layers are titled {path!r}; push it again", reason=_UNSUPPORTED)
        found[path] = _layer(path, item, name)
    return tuple(found.values())


def _layer(path: str, item: Mapping[str, Any], name: str) -> Layer:
    size = item.get("size")
    if error := path_error(path):
        raise InvalidSpec(f"{name}: layer {path!r} {error}; push it under another title")
    if isinstance(size, bool) or not isinstance(size, int) or size < 0:
        raise ServerMisbehaves(f"{name}: layer {path!r} has no size; push it again")
    return Layer(path, size, Digest.parse(_digest(item, name)))


def _without_title(number: int, kind: str, name: str, image: bool) -> InvalidSpec:
    if kind == TENSOR:
        what = f"layer {number} is one tensor of a model, which only Ollama can put together"
        return InvalidSpec(f"{name}: {what}; use a tag of the model in GGUF", reason=_UNSUPPORTED)
    what = "it is a container image" if image else f"layer {number} ({kind[:80]}) has no title"
    remedy = f"push files, each as a layer with its path in {_TITLES[0]} (oras push does it)"
    return InvalidSpec(f"{name}: {what}; {remedy}", reason=_UNSUPPORTED)


def _archive(title: str, kept: str, name: str) -> InvalidSpec:
    return InvalidSpec(
        f"{name}: layer {title!r} is an archive, which is not unpacked; push its files one by one (oras push with files"
        " instead of a directory, modctl build --raw), or set spec.source.oci.archives: keep to download it as"
        f" {kept!r}",
        reason=_UNSUPPORTED,
    )


def _kind(item: Mapping[str, Any]) -> str:
    return base_type(item.get("mediaType"))


def _title(item: Mapping[str, Any]) -> str:
    """The path in the layer's annotations; empty if they have none."""
    annotations = _annotations(item)
    try:
        metadata = parse_json(annotations.get(_METADATA, ""))
    except (ValueError, TypeError):
        metadata = None
    titles = [annotations.get(key) for key in _TITLES]
    titles.append(metadata.get("name") if isinstance(metadata, dict) else None)
    return next((title for title in titles if title and isinstance(title, str)), "")


def _unpacks(item: Mapping[str, Any]) -> bool:
    return str(_annotations(item).get(_UNPACK)).lower() == "true"


def _annotations(item: Mapping[str, Any]) -> Mapping[str, Any]:
    annotations = item.get("annotations")
    return annotations if isinstance(annotations, dict) else {}


def _descriptors(document: Mapping[str, Any], key: str, name: str) -> list[dict[str, Any]]:
    items = document.get(key)
    if not isinstance(items, list) or not all(isinstance(item, dict) for item in items):
        raise ServerMisbehaves(f"{name}: the manifest has no {key}; push it again")
    return items


def _digest(descriptor: Mapping[str, Any], name: str) -> str:
    digest = str(descriptor.get("digest"))
    if not _DIGEST.fullmatch(digest):
        raise InvalidSpec(f"{name}: digest {digest[:80]!r} is not a sha256; push it again", reason=_UNSUPPORTED)
    return digest


def _is_attestation(descriptor: Mapping[str, Any]) -> bool:
    """Whether it is the attestation that BuildKit adds to an image."""
    return _annotations(descriptor).get("vnd.docker.reference.type") == "attestation-manifest"
