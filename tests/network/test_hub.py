"""The source ``huggingFace`` against a Hub on loopback, which the Hub's own client is tried with as well."""

from __future__ import annotations

import asyncio
import json
import os
import sys
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from random import Random

import pytest

from modelferry.errors import Denied, InvalidSpec, ModelferryError, NotFound, ServerMisbehaves
from modelferry.http.auth.credentials import ANONYMOUS, Credential, HostScoped, bearer
from modelferry.http.routes import Route, Routes
from modelferry.http.tls.contexts import client_context
from modelferry.manifest import Digest, Manifest
from modelferry.resource.source import HuggingFaceSource
from modelferry.sources import resolve
from network.harness import CHUNK, DownloadHarness
from origin.certs import Leaf
from origin.hub import CDN, Hub, Repo, git_sha1

pytestmark = pytest.mark.usefixtures("small_chunks")

TOKEN = "hf_planted"
FILES = {
    "README.md": b"# Speech\n",
    "asset/gpt/model-00001-of-00001.safetensors": Random(5).randbytes(5 * CHUNK + 77),
    "config/path with space+.yaml": b"x: 1\n",
    "empty": b"",
    "tokenizer.json": Random(6).randbytes(CHUNK // 2),
}
#: Its large files are those of half a chunk or more.
SPEECH = Repo(FILES, refs=("main", "v1", "refs/pr/1"), lfs_from=CHUNK // 2)


@asynccontextmanager
async def hub_of(repo: Repo = SPEECH, leaf: Leaf | None = None, **options: object) -> AsyncIterator[tuple[Hub, CDN]]:
    """A Hub with `repo` as acme/speech, and its CDN."""
    tls = leaf.context() if leaf else None
    async with CDN(tls=tls) as cdn:
        repos = {"acme/speech": repo, "datasets/acme/voices": SPEECH, "bert": SPEECH}
        async with Hub(repos, cdn, tls=tls, tokens=frozenset({TOKEN, "hf_other"}), **options) as hub:  # type: ignore[arg-type]
            yield hub, cdn


def meant_for(hub: Hub, token: str = TOKEN) -> Credential:
    return HostScoped(bearer(token), frozenset({hub.authority}), plain_http=True)


async def resolved(
    hub: Hub, credential: Credential = ANONYMOUS, /, repo: str = "acme/speech", **fields: str
) -> Manifest:
    """The manifest of a source whose fields are given; patterns as one word."""
    patterns = {key: tuple(fields.pop(key).split()) for key in ("include", "exclude") if key in fields}
    source = HuggingFaceSource(repo, endpoint=hub.base, **fields, **patterns)  # type: ignore[arg-type]
    return await resolve(source, Routes(Route(client_context(), credential)), allow_plain_http=True)


async def test_a_branch_becomes_its_commit_and_each_file_has_a_digest() -> None:
    async with hub_of() as (hub, _):
        manifest = await resolved(hub)
        base = hub.base
    assert manifest.revision == SPEECH.commit
    assert {file.path: file.size for file in manifest.files} == {path: len(body) for path, body in FILES.items()}
    digests = {file.path: file.digest for file in manifest.files}
    assert digests["README.md"] == Digest("git-sha1", git_sha1(FILES["README.md"]))
    assert digests["tokenizer.json"] is not None
    assert digests["tokenizer.json"].algorithm == "sha256"
    locations = {file.path: file.locations[0].url for file in manifest.files}
    assert locations["config/path with space+.yaml"] == (
        f"{base}/acme/speech/resolve/{SPEECH.commit}/config/path%20with%20space%2B.yaml"
    )


@pytest.mark.parametrize("revision", ["v1", "refs/pr/1", SPEECH.commit])
async def test_a_tag_a_pull_request_and_a_commit_are_revisions_too(revision: str) -> None:
    async with hub_of() as (hub, _):
        assert (await resolved(hub, revision=revision)).revision == SPEECH.commit


@pytest.mark.parametrize(
    "leaves_out",
    [{"tree"}, {"oids"}, {"tree", "blobs"}, {"oids", "blobs"}, {"oids", "siblings"}],
    ids=lambda names: "-".join(sorted(names)),
)
async def test_a_proxy_that_lists_less_than_the_hub_leads_to_the_same_manifest(leaves_out: set[str]) -> None:
    """sonatype/nexus-public#1071 and huggingface/huggingface_hub#1796: no tree, or no digests in it."""
    async with hub_of() as (hub, _):
        entire = await resolved(hub)
    async with hub_of(leaves_out=frozenset(leaves_out)) as (hub, _):
        manifest = await resolved(hub)
    assert manifest.revision == entire.revision
    assert [(file.path, file.size, file.digest) for file in manifest.files] == [
        (file.path, file.size, file.digest) for file in entire.files
    ]


async def test_a_file_whose_digest_a_proxy_does_not_state_is_pinned_by_the_commit() -> None:
    async with hub_of(leaves_out=frozenset({"tree", "blobs", "stated"})) as (hub, _):
        manifest = await resolved(hub)
    assert (manifest.revision, manifest.unpinned) == (SPEECH.commit, ())
    assert {file.path: (file.size, file.digest, file.version) for file in manifest.files} == {
        path: (len(body), None, SPEECH.commit) for path, body in FILES.items()
    }


async def test_a_proxy_that_lists_no_files_or_no_commit_is_told_by_what_it_lacks() -> None:
    async with hub_of(leaves_out=frozenset({"tree", "siblings"})) as (hub, _):
        with pytest.raises(ServerMisbehaves, match=r"lists no files: it has no /tree, and no siblings here; list them"):
            await resolved(hub)
    async with hub_of(leaves_out=frozenset({"sha"})) as (hub, _):
        with pytest.raises(ServerMisbehaves, match=r"names no commit of 'main'; give the commit, 40 digits, as spec"):
            await resolved(hub)
        assert (await resolved(hub, revision=SPEECH.commit)).revision == SPEECH.commit


async def test_a_dataset_and_a_model_without_an_owner_are_found() -> None:
    async with hub_of() as (hub, _):
        voices = await resolved(hub, repo="acme/voices", repo_type="dataset")
        assert voices.files[0].locations[0].url.startswith(f"{hub.base}/datasets/acme/voices/resolve/")
        assert (await resolved(hub, repo="bert")).revision == SPEECH.commit


async def test_published_files_are_verified_with_both_kinds_of_digest(leaf: Leaf, harness: DownloadHarness) -> None:
    async with hub_of(leaf=leaf) as (hub, _):
        route = Route(client_context(harness.ca_file))
        manifest = await resolve(HuggingFaceSource("acme/speech", endpoint=hub.base), Routes(route))
        await harness.pull_manifest(manifest)
    assert {path: harness.read(path) for path in FILES} == FILES
    assert harness.progress is not None
    assert harness.progress.checksum == "verified"


async def test_a_small_file_that_differs_from_the_tree_is_not_published(leaf: Leaf, harness: DownloadHarness) -> None:
    async with hub_of(leaf=leaf) as (hub, _):
        route = Route(client_context(harness.ca_file))
        manifest = await resolve(HuggingFaceSource("acme/speech", endpoint=hub.base), Routes(route))
        hub.replaced["README.md"] = b"# SPEECH\n"
        with pytest.raises(ModelferryError, match=r"README\.md: expected git-sha1:") as caught:
            await harness.pull_manifest(manifest)
    assert caught.value.reason == "DigestMismatch"
    assert not harness.published


async def test_patterns_select_files_and_another_selection_is_another_revision() -> None:
    async with hub_of() as (hub, _):
        some = await resolved(hub, include="*.safetensors config/", exclude="*.bin")
        others = await resolved(hub, exclude="*.safetensors")
    assert [file.path for file in some.files] == [
        "asset/gpt/model-00001-of-00001.safetensors",
        "config/path with space+.yaml",
    ]
    assert len({some.revision, others.revision}) == 2
    assert all(manifest.revision.startswith(f"{SPEECH.commit}-") for manifest in (some, others))


async def test_patterns_without_a_match_are_reported_with_the_existing_files() -> None:
    async with hub_of() as (hub, _):
        with pytest.raises(InvalidSpec) as caught:
            await resolved(hub, include="*.safetensor *.json", exclude="tokenizer*")
    assert caught.value.message == (
        f"spec.source.huggingFace: none of the 5 files of acme/speech at {SPEECH.commit[:12]} is left; include"
        " (*.safetensor, *.json) matches 1; exclude (tokenizer*) leaves out 1 of them; the repository has README.md,"
        " asset/gpt/model-00001-of-00001.safetensors, config/path with space+.yaml, empty, tokenizer.json; correct the"
        " patterns"
    )


async def test_all_pages_of_a_list_are_read_from_the_configured_endpoint() -> None:
    # A mirror hands on the Hub's own link, at an address that cannot be reached from here.
    async with hub_of(page=2, linked="https://hub.invalid") as (hub, _):
        assert len((await resolved(hub, meant_for(hub))).files) == len(FILES)
        pages = [entry.request for entry in hub.log if "/tree/" in entry.request.path]
    assert [page.query.get("cursor") for page in pages] == [None, "2", "4", "6"]
    assert {page.token for page in pages} == {TOKEN}


async def test_a_repository_with_too_many_files_is_reported_with_the_limit_and_the_remedy() -> None:
    many = Repo({f"{number:03}.txt": b"x" for number in range(250)})
    async with hub_of(many, page=2) as (hub, _):
        with pytest.raises(InvalidSpec) as told:
            await resolved(hub, meant_for(hub))
    assert "acme/speech at " in str(told.value)
    assert "has more than 200 files (its list goes on after 100 pages, the most that are read)" in str(told.value)
    assert "spec.source.http.files" in str(told.value)


async def test_a_list_with_circular_pages_is_not_followed_forever() -> None:
    async with hub_of(page=3, circular=True) as (hub, _):
        with pytest.raises(ServerMisbehaves, match="page 4 of its list of files leads back to another"):
            await resolved(hub, meant_for(hub))


@pytest.mark.parametrize(
    ("repo", "token", "fields", "error", "reason", "words"),
    [
        (SPEECH, "", {"revision": "v9"}, NotFound, "RevisionNotFound", "no branch, tag or commit 'v9'; correct"),
        (SPEECH, "", {"repo": "acme/missing"}, NotFound, "RepositoryNotFound", "no model acme/missing on .* or it is"),
        (SPEECH, TOKEN, {"repo": "acme/missing"}, NotFound, "RepositoryNotFound", "or give a token"),
        (Repo(FILES, private=True), "", {}, NotFound, "RepositoryNotFound", r"may read it: add `auth: "),
        (Repo(FILES, private=True), TOKEN, {}, NotFound, "RepositoryNotFound", "or it is private"),
        (Repo(FILES, gated=True), "", {}, Denied, "GatedRepo", "401 .*is gated.*ask for access at .*/acme/speech"),
        (Repo(FILES, gated=True), TOKEN, {}, Denied, "GatedRepo", "403 .*token of the account that has it"),
        (SPEECH, "hf_wrong", {}, Denied, "TokenRefused", "does not accept the token; give a valid one"),
    ],
)
async def test_each_refusal_has_a_reason_and_a_remedy(
    repo: Repo, token: str, fields: dict[str, str], error: type[ModelferryError], reason: str, words: str
) -> None:
    async with hub_of(repo) as (hub, _):
        with pytest.raises(error, match=words) as caught:
            await resolved(hub, meant_for(hub, token) if token else ANONYMOUS, **fields)
    assert caught.value.reason == reason
    assert "hf_" not in caught.value.message


@pytest.mark.parametrize("kind", ["gated", "private"])
async def test_gated_and_private_repositories_are_available_with_access(kind: str) -> None:
    async with hub_of(Repo(FILES, readers=frozenset({TOKEN}), **{kind: True})) as (hub, _):  # type: ignore[arg-type]
        assert len((await resolved(hub, meant_for(hub))).files) == len(FILES)


async def test_an_endpoint_that_is_no_hub_is_reported() -> None:
    async with CDN() as cdn:
        source = HuggingFaceSource("acme/speech", endpoint=cdn.base)
        with pytest.raises(Denied):
            await resolve(source, Routes(Route(client_context())), allow_plain_http=True)
    async with hub_of() as (hub, _):
        source = HuggingFaceSource("api/resolve-cache", endpoint=hub.base, revision="main")
        with pytest.raises((NotFound, ServerMisbehaves)):
            await resolve(source, Routes(Route(client_context())), allow_plain_http=True)


async def test_signed_urls_that_expire_during_the_download_are_renewed_by_a_redirect(
    leaf: Leaf, harness: DownloadHarness
) -> None:
    async with hub_of(leaf=leaf) as (hub, cdn):
        route = Route(client_context(harness.ca_file))
        manifest = await resolve(HuggingFaceSource("acme/speech", endpoint=hub.base), Routes(route))
        cdn.uses = 1
        await harness.pull_manifest(manifest)
        expired = sum(entry.status == 403 for entry in cdn.log)
        redirects = sum(entry.status == 302 for entry in hub.log)
    assert expired > 0
    # One for each part: the resolving one, five chunks, and the small file of LFS at least.
    assert redirects >= 7
    assert (
        harness.read("asset/gpt/model-00001-of-00001.safetensors")
        == FILES["asset/gpt/model-00001-of-00001.safetensors"]
    )


async def test_the_token_is_sent_to_the_hub_with_each_request_and_never_to_the_cdn(
    leaf: Leaf, harness: DownloadHarness
) -> None:
    async with hub_of(Repo(FILES, private=True, readers=frozenset({TOKEN})), leaf) as (hub, cdn):
        harness.credential = HostScoped(bearer(TOKEN), frozenset({hub.authority}))
        routes = Routes(Route(client_context(harness.ca_file), harness.credential))
        await harness.pull_manifest(await resolve(HuggingFaceSource("acme/speech", endpoint=hub.base), routes))
        assert {entry.request.token for entry in hub.log} == {TOKEN}
        assert cdn.log
        assert {entry.request.token for entry in cdn.log} == {""}
        assert not any(TOKEN in str(entry) for entry in cdn.log)


async def test_a_busy_hub_is_retried_at_the_time_that_it_gives(harness: DownloadHarness) -> None:
    busy = {"RateLimit": '"api";r=0;t=1', "RateLimit-Policy": '"fixed window";"api";q=500;w=300'}
    async with hub_of(busy=lambda number, _: number == 1, busy_fields=busy) as (hub, _):
        loop = asyncio.get_running_loop()
        before = loop.time()
        assert (await resolved(hub)).revision == SPEECH.commit
        assert loop.time() - before >= 1.0
        assert [entry.status for entry in hub.log].count(429) == 1


async def snapshot(hub: Hub, home: Path, *, token: str = "", patterns: list[str] | None = None) -> tuple[int, str]:
    """What huggingface_hub makes of acme/speech: its exit code, and its directory or its traceback."""
    script = (
        "import json, sys, huggingface_hub as h\n"
        "print(h.snapshot_download('acme/speech', allow_patterns=json.loads(sys.argv[1])))\n"
    )
    environment = {name: os.environ[name] for name in ("PATH", "HOME") if name in os.environ}
    environment |= {"HF_ENDPOINT": hub.base, "HF_HOME": str(home), "HF_HUB_DISABLE_TELEMETRY": "1"}
    environment |= {"HF_HUB_DISABLE_XET": "1", "HF_HUB_DISABLE_PROGRESS_BARS": "1"} | (
        {"HF_TOKEN": token} if token else {}
    )
    process = await asyncio.create_subprocess_exec(
        sys.executable, "-c", script, json.dumps(patterns), env=environment,
        stdout=asyncio.subprocess.PIPE, stderr=asyncio.subprocess.PIPE,
    )  # fmt: skip
    out, err = await process.communicate()
    return process.returncode or 0, (out or err).decode().strip()


def published(where: str) -> set[str]:
    return {str(path.relative_to(where)) for path in Path(where).rglob("*") if path.is_file()}


async def test_the_test_hub_works_with_huggingface_hub(tmp_path: Path) -> None:
    async with hub_of(Repo(FILES, gated=True, readers=frozenset({TOKEN}), lfs_from=CHUNK // 2), page=2) as (hub, cdn):
        code, where = await snapshot(hub, tmp_path, token=TOKEN)
        assert code == 0, where
        assert {path: (Path(where) / path).read_bytes() for path in FILES} == FILES
        assert Path(where).name == SPEECH.commit
        assert {entry.request.token for entry in cdn.log} == {""}
        # Whoever is not let in hears from the real client what our own says.
        code, said = await snapshot(hub, tmp_path / "other")
        assert (code, "GatedRepoError" in said) == (1, True), said


async def test_patterns_select_the_same_files_as_in_huggingface_hub(tmp_path: Path) -> None:
    async with hub_of() as (hub, _):
        code, where = await snapshot(hub, tmp_path, patterns=["*.safetensors", "config/"])
        assert code == 0, where
        theirs = published(where)
        ours = {file.path for file in (await resolved(hub, include="*.safetensors config/")).files}
    assert ours == theirs
