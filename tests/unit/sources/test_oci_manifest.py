"""Manifests of artifacts into files: ORAS, ModelPack, and what is neither."""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any

import pytest

from modelferry.errors import InvalidSpec, ServerMisbehaves
from modelferry.manifest import Digest
from modelferry.sources.oci_manifest import OCI_INDEX, OCI_MANIFEST, Layer, parse_manifest
from modelferry.sources.oci_names import NAMES, names

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


def paths(*layers: object, **options: Any) -> list[str]:
    found = parse_manifest(manifest(*layers, config={"mediaType": IMAGE}), "", "m", **options)
    assert not isinstance(found, str)
    return [one.path for one in found]


DOCKER, OLLAMA = "application/vnd.docker.ai.", "application/vnd.ollama.image."
KITOPS, MODELPACK = "application/vnd.kitops.modelkit.", "application/vnd.cncf.model."


@pytest.mark.parametrize(
    ("types", "expected"),
    [
        ([f"{DOCKER}gguf.v3", f"{DOCKER}license"], ["model.gguf", "LICENSE"]),
        ([f"{DOCKER}model.file.v1+gguf"], ["model.gguf"]),
        (
            [f"{DOCKER}gguf.v3", f"{DOCKER}mmproj", f"{DOCKER}chat.template.jinja", f"{DOCKER}gguf.v3.lora"],
            ["model.gguf", "mmproj.gguf", "template.jinja", "adapter.gguf"],
        ),
        (
            [f"{DOCKER}safetensors", f"{DOCKER}license", f"{DOCKER}safetensors", f"{DOCKER}license"],
            ["model-00001-of-00002.safetensors", "LICENSE", "model-00002-of-00002.safetensors", "LICENSE-2"],
        ),
        ([f"{DOCKER}dduf", f"{DOCKER}something-new"], ["model.dduf", "something-new"]),
        (
            [OLLAMA + kind for kind in ("model", "projector", "template", "system", "params", "messages", "license")],
            ["model.gguf", "mmproj.gguf", "template", "system.txt", "params.json", "messages.json", "LICENSE"],
        ),
        (
            [f"{OLLAMA}model", f"{OLLAMA}draft", f"{OLLAMA}tokenizer.config; name=x", f"{OLLAMA}model"],
            ["model-00001-of-00002.gguf", "draft.gguf", "tokenizer.config", "model-00002-of-00002.gguf"],
        ),
        ([f"{MODELPACK}weight.v1.gguf"], ["model.gguf"]),
    ],
)
def test_an_untitled_layer_is_named_by_its_media_type(types: list[str], expected: list[str]) -> None:
    """ramalama#1076: artifacts of Docker Model Runner and Ollama have no titles."""
    assert paths(*(layer(kind) for kind in types)) == expected


def test_the_page_lists_each_media_type_with_its_file() -> None:
    page = (Path(__file__).parents[3] / "docs/sources.md").read_text()
    rows = re.findall(r"^\| `([A-Za-z.]+)` \| (`.*`) \|$", page, re.MULTILINE)
    listed = {f"application/vnd.{kind}": file for file, kinds in rows for kind in re.findall(r"`([^`]+)`", kinds)}
    assert {kind: names([kind])[0] for kind in NAMES} == {kind: listed.get(kind) for kind in NAMES}


def test_a_title_counts_before_the_media_type() -> None:
    metadata = json.dumps({"name": "b.gguf", "mode": 420})
    named = layer(f"{MODELPACK}weight.v1.raw", **{"org.cncf.model.file.metadata+json": metadata})
    found = paths(layer(f"{DOCKER}gguf.v3", **{FILEPATH: "a/weights.gguf"}), named, layer(f"{DOCKER}gguf.v3"))
    assert found == ["a/weights.gguf", "b.gguf", "model.gguf"]


def test_an_archive_is_kept_as_it_is_where_the_spec_says_so() -> None:
    kept = paths(
        layer(f"{KITOPS}model.v1.tar+gzip"),
        layer(f"{KITOPS}modelpart.v1.tar"),
        layer(f"{KITOPS}modelpart.v1.tar"),
        layer(f"{MODELPACK}weight.config.v1.tar+zstd", **{FILEPATH: "config"}),
        layer(f"{DOCKER}vllm.config.tar"),
        titled("asset", "application/vnd.oci.image.layer.v1.tar+gzip", **{"io.deis.oras.content.unpack": "true"}),
        titled("notes.txt"),
        keep_archives=True,
    )
    assert kept == [
        "model.tar.gz",
        "modelpart.tar",
        "modelpart-2.tar",
        "config.tar.zst",
        "vllm.config.tar",
        "asset.tar.gz",
        "notes.txt",
    ]


def test_the_layers_of_an_image_are_no_archives_to_keep() -> None:
    root = layer("application/vnd.oci.image.layer.v1.tar+gzip")
    with pytest.raises(InvalidSpec, match="it is a container image"):
        parse_manifest(manifest(root, config={"mediaType": IMAGE}), "", "m", keep_archives=True)


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
        (manifest(layer("application/wasm")), "layer 0 (application/wasm) has no title; push files, each as a layer"),
        (
            manifest(layer("application/vnd.ollama.image.tensor"), config={"mediaType": IMAGE}),
            "layer 0 is one tensor of a model, which only Ollama can put together; use a tag of the model in GGUF",
        ),
        (
            manifest(layer("application/vnd.kitops.modelkit.model.v1.tar+gzip")),
            "'model.tar.gz' is an archive, which is not unpacked; push its files one by one (oras push with files"
            " instead of a directory, modctl build --raw), or set spec.source.oci.archives: keep to download it as"
            " 'model.tar.gz'",
        ),
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
