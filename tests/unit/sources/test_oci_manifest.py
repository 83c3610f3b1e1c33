"""Manifests of artifacts into files: ORAS, ModelPack, and what is neither."""

from __future__ import annotations

import json
from typing import Any

import pytest

from modelferry.errors import InvalidSpec, ServerMisbehaves
from modelferry.manifest import Digest
from modelferry.sources.oci_manifest import OCI_INDEX, OCI_MANIFEST, Layer, parse_manifest

SHA = "0123456789abcdef" * 4
TITLE, FILEPATH = "org.opencontainers.image.title", "org.cncf.model.filepath"
IMAGE = "application/vnd.oci.image.config.v1+json"


def layer(media_type: str = "application/octet-stream", size: object = 5, **annotations: str) -> dict[str, Any]:
    return {"mediaType": media_type, "digest": f"sha256:{SHA}", "size": size, "annotations": annotations}


def titled(path: str, media_type: str = "application/vnd.oci.image.layer.v1.tar", **more: str) -> dict[str, Any]:
    return layer(media_type, **{TITLE: path, **more})


def manifest(*layers: object, **fields: object) -> bytes:
    return json.dumps({"schemaVersion": 2, "mediaType": OCI_MANIFEST, "layers": layers} | fields).encode()


def index(*items: object) -> bytes:
    return json.dumps({"schemaVersion": 2, "mediaType": OCI_INDEX, "manifests": items}).encode()


def test_a_file_of_oras_is_no_tar_though_its_type_says_so() -> None:
    assert parse_manifest(manifest(titled("a/b.bin")), "", "m") == (Layer("a/b.bin", 5, Digest("sha256", SHA)),)


def test_a_raw_file_of_a_modelpack_stands_at_its_filepath() -> None:
    raw = layer("application/vnd.cncf.model.weight.v1.raw", **{FILEPATH: "w.safetensors"})
    assert parse_manifest(manifest(raw), "", "m") == (Layer("w.safetensors", 5, Digest("sha256", SHA)),)


def test_the_type_is_read_from_the_answer_where_the_manifest_keeps_it_to_itself() -> None:
    body = json.dumps({"schemaVersion": 2, "layers": [titled("a")]}).encode()
    assert len(parse_manifest(body, f"{OCI_MANIFEST}; charset=utf-8", "m")) == 1


def test_an_index_leads_to_its_one_manifest_whatever_buildkit_put_beside_it() -> None:
    beside = {"digest": f"sha256:{'f' * 64}", "annotations": {"vnd.docker.reference.type": "attestation-manifest"}}
    assert parse_manifest(index({"digest": f"sha256:{SHA}"}, beside), "", "m") == f"sha256:{SHA}"


@pytest.mark.parametrize(
    ("body", "said"),
    [
        (manifest(layer(), config={"mediaType": IMAGE}), "m: it is a container image; push files"),
        (manifest(layer("application/vnd.ollama.image.model")), "layer 0 (application/vnd.ollama.image.model) has no"),
        (manifest(titled("d", **{"io.deis.oras.content.unpack": "true"})), "'d' is an archive, which is not unpacked"),
        (
            manifest(layer("application/vnd.cncf.model.weight.v1.tar+gzip", **{FILEPATH: "w"})),
            "'w' is an archive, which is not unpacked; push its files one by one",
        ),
        (manifest(titled("a"), titled("a")), "two layers are titled 'a'"),
        (manifest(layer("application/vnd.oci.empty.v1+json")), "no layer that is a file"),
        (manifest(titled("a") | {"digest": f"sha512:{SHA}{SHA}"}), "is not a sha256"),
        (index(), "index of 0 manifests"),
        (manifest(mediaType="application/vnd.docker.distribution.manifest.v1+json"), "v1+json' is not supported"),
    ],
)
def test_what_is_no_artifact_of_plain_files_is_told(body: bytes, said: str) -> None:
    with pytest.raises(InvalidSpec) as caught:
        parse_manifest(body, "", "m")
    assert said in caught.value.message
    assert caught.value.reason == "UnsupportedMediaType"


@pytest.mark.parametrize("path", ["../a", "/etc/passwd", "a/../../b", "a//b", ".modelferry-ready.json", "a\nb"])
def test_a_title_that_is_no_path_below_the_model_is_refused(path: str) -> None:
    with pytest.raises(InvalidSpec, match="push it under another title"):
        parse_manifest(manifest(titled(path)), "", "m")


@pytest.mark.parametrize(
    "body",
    [
        b"",
        b"[]",
        b"\xff",
        manifest(layers=None),
        manifest("layer"),
        manifest(layer(size=-1, **{TITLE: "a"})),
        manifest(layer(size=True, **{TITLE: "a"})),
        manifest(layer(size="5", **{TITLE: "a"})),
        json.dumps({"mediaType": OCI_INDEX}).encode(),
    ],
)
def test_what_is_no_manifest_at_all_is_the_registrys_fault(body: bytes) -> None:
    with pytest.raises(ServerMisbehaves):
        parse_manifest(body, OCI_MANIFEST, "m")
