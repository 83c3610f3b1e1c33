"""A bucket on MinIO and an artifact in a registry, from YAML to Ready; and wrong keys."""

from __future__ import annotations

import base64
import hashlib
from collections.abc import Iterator, Mapping
from random import Random
from typing import Any

import pytest

from e2e.namespace_client import NamespaceClient, Object, artifact, digests, readable_output
from e2e.platform import Platform
from modelferry.controller.children.config_maps import MANIFEST_KEY
from modelferry.manifest import Digest, FileEntry, Location, decode
from modelferry.manifest.entries import content_id
from origin.certs import Authority, Leaf
from origin.planted import found_in
from stores.minio_store import REGION, MinioStore
from stores.registry_store import PASSWORD, TITLE, USER, RegistryStore
from stores.token_server import TokenServer

#: Two chunks and a small file.
MODEL = {"config.yaml": b"x: 1\n", "asset/gpt.safetensors": Random(1).randbytes(20_000_000)}
READER = {"accessKeyID": "reader", "secretAccessKey": "planted-reader-secret"}
LOGIN = {"username": USER, "password": PASSWORD}


@pytest.fixture(scope="module")
def bucket(installed: Platform, leaf: Leaf, authority: Authority) -> Iterator[MinioStore]:
    """MinIO with the bucket `models`, with versioning; `reader` may read it."""
    with MinioStore(leaf, authority.ca_file, host=installed.host_address) as store:
        store.bucket("models", versioned=True)
        for path, content in MODEL.items():
            store.put("models", f"chattts/{path}", content, checksum=True)
        store.user("reader", READER["secretAccessKey"], "models")
        yield store


@pytest.fixture(scope="module")
def registry(installed: Platform, leaf: Leaf, authority: Authority) -> Iterator[RegistryStore]:
    """A registry with a token server."""
    host = installed.host_address
    tokens = TokenServer(leaf, USER, PASSWORD, host=host)
    with tokens, RegistryStore(leaf, authority.ca_file, host=host, tokens=tokens) as store:
        yield store


def secret(name: str, data: Mapping[str, str]) -> Object:
    return {"apiVersion": "v1", "kind": "Secret", "metadata": {"name": name}, "stringData": dict(data)}


def model(name: str, source: dict[str, Any], auth: str) -> Object:
    made = artifact(name, [], auth={"secretRef": {"name": auth}})
    made["spec"]["source"] = source
    return made


def in_bucket(store: MinioStore) -> dict[str, Any]:
    return {"s3": {"bucket": "models", "prefix": "chattts", "region": REGION, "endpoint": store.endpoint}}


def expected(model: Mapping[str, bytes] = MODEL) -> str:
    """The digest of the model, computed from the content of the stores."""
    entries = [
        FileEntry(path, len(content), Digest("sha256", hashlib.sha256(content).hexdigest()), (Location("https://h/"),))
        for path, content in sorted(model.items())
    ]
    return f"sha256:{content_id(tuple(entries))}"


def locations(ns: NamespaceClient) -> list[str]:
    """The URLs in the one manifest of the namespace."""
    (found,) = (found for found in ns.all("configmaps") if MANIFEST_KEY in found.get("binaryData", {}))
    manifest = decode(base64.b64decode(found["binaryData"][MANIFEST_KEY]))
    return [location.url for file in manifest.files for location in file.locations]


def test_a_bucket_is_fetched_at_its_object_versions(ns: NamespaceClient, bucket: MinioStore) -> None:
    ns.apply(secret("keys", READER), model("tts", in_bucket(bucket), "keys"))
    ns.wait_ready("tts")
    status = ns.status("tts")
    assert (status["files"], status["checksum"], status["digest"]) == (2, "Verified", expected())
    assert ns.files_on_disk("tts") == digests(MODEL)
    assert status["revision"] == expected().removeprefix("sha256:")[:12]
    assert all("?versionId=" in url for url in locations(ns))


def test_an_oci_artifact_is_fetched_at_its_digest(ns: NamespaceClient, registry: RegistryStore) -> None:
    """containers/ramalama#1076: Docker Model Runner's layers have no titles; here one beside titled ones."""
    layers = [registry.layer("models/chattts", content, {TITLE: path}) for path, content in MODEL.items()]
    layers.append(registry.layer("models/chattts", b"MIT", {}, "application/vnd.docker.ai.license"))
    pushed = registry.push("models/chattts", "v1", {}, layers=layers)
    contents = MODEL | {"LICENSE": b"MIT"}
    ns.apply(
        secret("login", LOGIN),
        model("tts", {"oci": {"reference": f"{registry.authority}/models/chattts:v1"}}, "login"),
    )
    ns.wait_ready("tts")
    status = ns.status("tts")
    assert (status["files"], status["checksum"], status["digest"]) == (3, "Verified", expected(contents))
    assert ns.files_on_disk("tts") == digests(contents)
    assert status["revision"] == pushed.removeprefix("sha256:")[:40]


def test_wrong_keys_are_reported_with_the_remedy_and_shown_nowhere(
    ns: NamespaceClient, bucket: MinioStore, registry: RegistryStore
) -> None:
    registry.push("models/chattts", "v1", MODEL)
    ns.apply(
        secret("keys", READER | {"secretAccessKey": "planted-wrong"}),
        secret("login", LOGIN | {"password": "planted-wrong"}),
        model("bucket", in_bucket(bucket), "keys"),
        model("registry", {"oci": {"reference": f"{registry.authority}/models/chattts:v1"}}, "login"),
    )
    assert "correct accessKeyID and secretAccessKey" in ns.wait_stalled("bucket", "BadCredentials")
    assert "correct user and password in spec.auth's Secret" in ns.wait_stalled("registry", "BadCredentials")
    assert [output for output, text in readable_output(ns).items() if found_in(text, "planted-wrong")] == []
