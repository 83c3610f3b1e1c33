"""The source ``oci`` against the real registry of distribution, behind htpasswd and behind a token server."""

from __future__ import annotations

import base64
import hashlib
import json
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from random import Random
from urllib.parse import urlsplit

import pytest

from cluster.shell import ClusterError
from modelferry.errors import Denied, DigestMismatch, InvalidSpec, ModelferryError
from modelferry.http.auth.credentials import HostScoped, basic
from modelferry.http.auth.registry_token import RegistryToken
from modelferry.http.routes import Route
from modelferry.manifest import Digest, FileEntry, Location, Manifest
from modelferry.manifest.entries import SOURCE
from modelferry.resource.object_stores import OCISource
from modelferry.sources.source_client import SourceClient
from network.harness import CHUNK, DownloadHarness, Serve
from network.references import Desk
from network.stores import fetched, resolved, routes
from origin.certs import Authority, Leaf
from origin.rules import Rule
from stores.registry_store import LAYER, PASSWORD, TITLE, USER, RegistryStore
from stores.token_server import LEEWAY, TokenServer

pytestmark = pytest.mark.usefixtures("small_chunks")

LOGIN = {"username": USER, "password": PASSWORD}
MODEL = {"config.yaml": b"x: 1\n", "asset/gpt.safetensors": Random(1).randbytes(5 * CHUNK + 99)}
INDEX = "application/vnd.oci.image.index.v1+json"


@pytest.fixture(scope="module")
def tokens(leaf: Leaf) -> Iterator[TokenServer]:
    """Says who may pull from `registry`."""
    with TokenServer(leaf, USER, PASSWORD) as server:
        yield server


@pytest.fixture(scope="module")
def registry(leaf: Leaf, authority: Authority, tokens: TokenServer) -> Iterator[RegistryStore]:
    """Behind a token server, with models/tts:v1, private, and models/open:v1, which is for all."""
    with RegistryStore(leaf, authority.ca_file, tokens=tokens) as server:
        tokens.public.add("models/open")
        for repository in ("models/tts", "models/open"):
            server.push(repository, "v1", MODEL)
        yield server


@pytest.fixture(scope="module")
def walled(leaf: Leaf, authority: Authority) -> Iterator[RegistryStore]:
    """Behind htpasswd, with models/tts:v1."""
    with RegistryStore(leaf, authority.ca_file) as server:
        server.push("models/tts", "v1", MODEL)
        yield server


def source(registry: RegistryStore, rest: str = "models/tts:v1") -> OCISource:
    return OCISource.parse(f"{registry.authority}/{rest}")


def docker(host: str, **entry: str) -> dict[str, str]:
    return {".dockerconfigjson": json.dumps({"auths": {host: entry}})}


async def test_each_layer_is_the_file_of_its_title(registry: RegistryStore, harness: DownloadHarness) -> None:
    wanted = source(registry)
    manifest = await resolved(harness, wanted, LOGIN)
    assert {file.path: file.digest for file in manifest.files} == {
        path: Digest("sha256", hashlib.sha256(content).hexdigest()) for path, content in MODEL.items()
    }
    assert await fetched(harness, wanted, manifest, LOGIN) == MODEL


async def test_a_tag_is_pinned_to_the_digest_that_it_has(registry: RegistryStore, harness: DownloadHarness) -> None:
    first = registry.push("models/moving", "v1", {"a": b"first"})
    wanted = source(registry, "models/moving:v1")
    manifest = await resolved(harness, wanted, LOGIN)
    assert first.removeprefix("sha256:").startswith(manifest.revision)
    second = registry.push("models/moving", "v1", {"a": b"second"})
    assert await fetched(harness, wanted, manifest, LOGIN) == {"a": b"first"}
    assert second.removeprefix("sha256:").startswith((await resolved(harness, wanted, LOGIN)).revision)
    assert await resolved(harness, source(registry, f"models/moving@{first}"), LOGIN) == manifest


async def test_a_public_repository_is_pulled_anonymously(registry: RegistryStore, harness: DownloadHarness) -> None:
    wanted = source(registry, "models/open:v1")
    assert await fetched(harness, wanted, await resolved(harness, wanted)) == MODEL


@pytest.mark.parametrize("entry", [LOGIN, {"auth": base64.b64encode(f"{USER}:{PASSWORD}".encode()).decode()}], ids=str)
async def test_a_docker_config_contains_the_credentials(
    walled: RegistryStore, harness: DownloadHarness, entry: dict[str, str]
) -> None:
    secret = docker(f"https://{walled.authority}/v1/", **entry)
    wanted = source(walled)
    assert await fetched(harness, wanted, await resolved(harness, wanted, secret), secret) == MODEL


async def test_an_index_with_one_manifest_is_followed(registry: RegistryStore, harness: DownloadHarness) -> None:
    digest = registry.push("models/tts", "inner", {"a": b"in an index"})
    inner = {"mediaType": "application/vnd.oci.image.manifest.v1+json", "digest": digest, "size": 1}
    index = {"schemaVersion": 2, "mediaType": INDEX, "manifests": [inner]}
    registry.push_manifest("models/tts", "index", index)
    manifest = await resolved(harness, source(registry, "models/tts:index"), LOGIN)
    assert digest.removeprefix("sha256:").startswith(manifest.revision)
    registry.push_manifest("models/tts", "two", index | {"manifests": [inner, inner]})
    with pytest.raises(InvalidSpec, match=r"index of 2 manifests .*name one of them by @sha256"):
        await resolved(harness, source(registry, "models/tts:two"), LOGIN)


async def test_a_token_that_expires_during_the_download_is_renewed(
    registry: RegistryStore, tokens: TokenServer, harness: DownloadHarness
) -> None:
    wanted = source(registry)
    manifest = await resolved(harness, wanted, LOGIN)
    credential = RegistryToken(basic(USER, PASSWORD))
    harness.credential = HostScoped(credential, frozenset({registry.authority}))
    tokens.lifetime = -float(LEEWAY) + 2
    await _hold_a_token(harness, registry)
    old = await credential.headers("")
    tokens.lifetime = 300.0
    await _until_refused(harness, registry, dict(old))
    asked = len(tokens.requests)
    await harness.pull_manifest(manifest)
    assert harness.read("config.yaml") == MODEL["config.yaml"]
    assert len(tokens.requests) == asked + 1
    assert await credential.headers("") != old


async def _hold_a_token(harness: DownloadHarness, registry: RegistryStore) -> None:
    wanted = source(registry)
    async with SourceClient(
        Route(routes(harness, wanted, None).for_mirror(SOURCE).context, harness.credential)
    ) as client:
        await client.head(f"{wanted.base}/tags/list", "a")


async def _until_refused(harness: DownloadHarness, registry: RegistryStore, shown: dict[str, str]) -> None:
    """Ask with the old token until the registry has had enough of it: its clock, not ours, decides."""
    wanted = source(registry)
    async with SourceClient(Route(routes(harness, wanted, None).for_mirror(SOURCE).context)) as client:
        for _ in range(10_000):
            try:
                await client.head(f"{wanted.base}/tags/list", "a", shown)
            except Denied:
                return
    raise ClusterError("the registry takes a token that has run out")


@pytest.mark.parametrize(
    ("rest", "secret", "reason", "said"),
    [
        ("models/tts:v9", LOGIN, "TagMissing", "there is no tag 'v9'; correct reference; there is .*v1"),
        (f"models/tts@sha256:{'0' * 64}", LOGIN, "ManifestMissing", "there is no manifest 'sha256:0000"),
        ("models/none:v1", LOGIN, "RepositoryMissing", "has no repository 'models/none'; correct reference"),
        ("models/tts:v1", None, "Denied", "allow the user of spec.auth to pull 'models/tts', or give one that may"),
        (
            "models/tts:v1",
            LOGIN | {"password": "planted-x"},
            "BadCredentials",
            "correct user and password in spec.auth",
        ),
        (
            "models/tts:v1",
            {"token": "planted-x"},
            "SecretMissing",
            "give it username and password, or .dockerconfigjson",
        ),
        ("models/tts:v1", docker("other.example.com", **LOGIN), "SecretMissing", "has no user and password for 127"),
        (
            "models/tts:v1",
            {".dockerconfigjson": "{"},
            "BadCredentials",
            "'.dockerconfigjson' of Secret 'keys' is not JSON",
        ),
        ("models/tts:v1", LOGIN | {"allowedHosts": "127.0.0.1:1"}, "Denied", "spec.auth"),
    ],
    ids=["tag", "digest", "repository", "nobody", "password", "keys", "other host", "no JSON", "hosts"],
)
async def test_errors_are_reported_with_the_remedy(
    registry: RegistryStore, harness: DownloadHarness, rest: str, secret: dict[str, str] | None, reason: str, said: str
) -> None:
    with pytest.raises(ModelferryError, match=said) as caught:
        await resolved(harness, source(registry, rest), secret)
    assert caught.value.reason == reason
    assert "planted" not in str(caught.value)


async def test_a_token_server_that_the_secret_does_not_list_gets_no_password(
    registry: RegistryStore, tokens: TokenServer, harness: DownloadHarness
) -> None:
    asked = len(tokens.requests)
    with pytest.raises(Denied, match=r"sends its clients to https://127.0.0.1:\d+/token, which .* does not list"):
        await resolved(harness, source(registry), LOGIN | {"allowedHosts": registry.authority})
    assert len(tokens.requests) == asked
    both = f"{registry.authority}, {urlsplit(tokens.realm).netloc}"
    await resolved(harness, source(registry), LOGIN | {"allowedHosts": both})


async def test_a_wrong_password_is_refused_by_htpasswd_too(walled: RegistryStore, harness: DownloadHarness) -> None:
    with pytest.raises(Denied, match="401 Unauthorized: allow the user"):
        await resolved(harness, source(walled), LOGIN | {"password": "planted-x"})


async def test_a_container_image_is_refused(registry: RegistryStore, harness: DownloadHarness) -> None:
    config = registry.layer("models/tts", b"{}", {}, "application/vnd.oci.image.config.v1+json")
    layers = [registry.layer("models/tts", b"tar", {}, LAYER)]
    registry.push("models/tts", "image", {}, config=config, layers=layers)
    with pytest.raises(InvalidSpec, match="it is a container image; push files, each as a layer") as caught:
        await resolved(harness, source(registry, "models/tts:image"), LOGIN)
    assert caught.value.reason == "UnsupportedMediaType"


@pytest.mark.parametrize(
    ("kind", "types", "expected"),
    [
        (
            "application/vnd.oci.image.manifest.v1+json",
            ["application/vnd.docker.ai.gguf.v3", "application/vnd.docker.ai.license"],
            ["model.gguf", "LICENSE"],
        ),
        (
            "application/vnd.docker.distribution.manifest.v2+json",
            ["application/vnd.ollama.image.model", "application/vnd.ollama.image.params"],
            ["model.gguf", "params.json"],
        ),
    ],
    ids=["Docker Model Runner", "Ollama"],
)
async def test_artifacts_without_titles_are_fetched_to_names_by_their_types(
    registry: RegistryStore, harness: DownloadHarness, kind: str, types: list[str], expected: list[str]
) -> None:
    """ramalama#1076, with the manifests and the configurations that these programs push."""
    contents = list(MODEL.values())[::-1]
    layers = [
        {key: value for key, value in registry.layer("models/run", content, {}, one).items() if key != "annotations"}
        for one, content in zip(types, contents, strict=True)
    ]
    config = registry.layer("models/run", b"{}", {}, "application/vnd.docker.container.image.v1+json")
    del config["annotations"]
    document = {"schemaVersion": 2, "mediaType": kind, "config": config, "layers": layers}
    registry.push_manifest("models/run", "v1", document)
    wanted = source(registry, "models/run:v1")
    found = await fetched(harness, wanted, await resolved(harness, wanted, LOGIN), LOGIN)
    assert found == dict(zip(expected, contents, strict=True))


async def test_an_archive_is_kept_as_a_file_or_refused(registry: RegistryStore, harness: DownloadHarness) -> None:
    """ramalama#1076, for a ModelKit, all of whose layers are archives."""
    archive = registry.layer("models/kit", b"a tar", {}, "application/vnd.kitops.modelkit.model.v1.tar+gzip")
    config = registry.layer("models/kit", b"{}", {}, "application/vnd.kitops.modelkit.config.v1+json")
    registry.push("models/kit", "v1", {}, config=config, layers=[archive])
    wanted = source(registry, "models/kit:v1")
    with pytest.raises(InvalidSpec, match=r"set spec\.source\.oci\.archives: keep to download it as 'model\.tar\.gz'"):
        await resolved(harness, wanted, LOGIN)
    keeping = replace(wanted, keep_archives=True)
    found = await fetched(harness, keeping, await resolved(harness, keeping, LOGIN), LOGIN)
    assert found == {"model.tar.gz": b"a tar"}


async def test_a_title_outside_of_the_target_is_refused(registry: RegistryStore, harness: DownloadHarness) -> None:
    registry.push("models/tts", "evil", {}, layers=[registry.layer("models/tts", b"x", {TITLE: "../../etc/passwd"})])
    with pytest.raises(InvalidSpec, match=r"layer '\.\./\.\./etc/passwd' .* stays inside the model's directory"):
        await resolved(harness, source(registry, "models/tts:evil"), LOGIN)


async def test_a_manifest_with_another_digest_is_refused(serve: Serve, harness: DownloadHarness) -> None:
    pinned = f"v2/models/tts/manifests/sha256:{'a' * 64}"
    async with serve({pinned: b'{"layers": []}'}) as origin:
        wanted = OCISource.parse(f"{urlsplit(origin.url('')).netloc}/models/tts@sha256:{'a' * 64}")
        with pytest.raises(DigestMismatch, match="something on the way changes it"):
            await resolved(harness, wanted)


async def test_a_blob_in_another_storage_is_fetched_without_credentials(serve: Serve, harness: DownloadHarness) -> None:
    content = MODEL["config.yaml"]
    digest = Digest("sha256", hashlib.sha256(content).hexdigest())
    login = basic("u", "planted-p").authorization
    asks = Rule(fields=(("WWW-Authenticate", 'Basic realm="r"'),), authorization=login)
    async with serve({"stored": content}) as storage:
        async with serve({"blob": content}, rules=[asks, Rule(redirect=storage.url("stored"))]) as origin:
            wanted = OCISource.parse(f"{urlsplit(origin.url('')).netloc}/models/tts:v1")
            file = FileEntry("a", len(content), digest, (Location(origin.url("blob")),))
            secret = {"username": "u", "password": "planted-p"}
            assert await fetched(harness, wanted, Manifest("r", (file,)), secret) == {"a": content}
        assert {request.authorization for request in storage.entries} == {""}
        assert [request.authorization for request in origin.entries] == ["", login]


async def test_a_reference_is_pulled_with_the_login_of_docker(
    registry: RegistryStore, tmp_path: Path, authority: Authority
) -> None:
    desk, words = Desk(tmp_path, authority), ("pull", f"oci://{registry.authority}/models/tts:v1")
    auth = base64.b64encode(f"{USER}:{PASSWORD}".encode()).decode()
    (tmp_path / "docker").mkdir()
    (tmp_path / "docker" / "config.json").write_text(docker(registry.authority, auth=auth)[".dockerconfigjson"])
    done = await desk.run(*words, DOCKER_CONFIG=str(tmp_path / "docker"))
    assert done.code == 0, done.err
    assert desk.files("tts") == MODEL
    refused = await desk.run(*words, "--to", "refused")
    assert (refused.code, "the login is that of `docker login`" in refused.err) == (3, True), refused.err
