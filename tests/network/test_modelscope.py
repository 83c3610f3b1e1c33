"""The source ``modelScope`` against a ModelScope on loopback."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from random import Random

import pytest

from modelferry.errors import Denied, InvalidSpec, ModelferryError, NotFound
from modelferry.http.auth.credentials import ANONYMOUS, Credential, HostScoped, modelscope_session
from modelferry.http.routes import Route, Routes
from modelferry.http.tls.contexts import client_context
from modelferry.manifest import Manifest
from modelferry.resource.source import ModelScopeSource
from modelferry.sources import resolve
from network.harness import CHUNK, DownloadHarness
from origin.certs import Leaf
from origin.modelscope import Model, ModelScope

pytestmark = pytest.mark.usefixtures("small_chunks")

FILES = {
    "README.md": b"# Speech\n",
    "asset/gpt.safetensors": Random(5).randbytes(3 * CHUNK + 77),
    "config/path & space.yaml": b"x: 1\n",
}
SPEECH = Model(FILES, refs=("master", "v1"))


@asynccontextmanager
async def served(model: Model = SPEECH, leaf: Leaf | None = None) -> AsyncIterator[ModelScope]:
    async with ModelScope({"acme/speech": model}, tls=leaf.context() if leaf else None) as server:
        yield server


async def resolved(server: ModelScope, credential: Credential = ANONYMOUS, /, **fields: object) -> Manifest:
    source = ModelScopeSource(**{"repo": "acme/speech", "endpoint": server.base} | fields)  # type: ignore[arg-type]
    return await resolve(source, Routes(Route(client_context(), credential)), allow_plain_http=True)


async def test_a_branch_becomes_its_commit_and_each_file_has_its_sha256() -> None:
    async with served() as server:
        manifest = await resolved(server)
        location = f"{server.base}/api/v1/models/acme/speech/repo?Revision={SPEECH.commit}"
    assert manifest.revision == SPEECH.commit
    assert [(file.path, file.size) for file in manifest.files] == [(path, len(body)) for path, body in FILES.items()]
    assert {file.digest.algorithm for file in manifest.files if file.digest} == {"sha256"}
    assert manifest.files[2].locations[0].url == f"{location}&FilePath=config%2Fpath%20%26%20space.yaml"


async def test_without_a_commit_the_revision_is_derived_from_the_content() -> None:
    async with served(Model(FILES, lists_commit=False)) as server:
        manifest = await resolved(server)
    assert len(manifest.revision) == 12
    # Each place is pinned all the same, by the commit that changed its file.
    assert not any("Revision=master" in file.locations[0].url for file in manifest.files)


async def test_ranges_that_are_answered_with_200_are_assembled(leaf: Leaf, harness: DownloadHarness) -> None:
    async with served(leaf=leaf) as server:
        source = ModelScopeSource("acme/speech", endpoint=server.base)
        await harness.pull_manifest(await resolve(source, Routes(Route(client_context(harness.ca_file)))))
        ranged = [entry for entry in server.log if "range" in entry.request.fields]
    assert {path: harness.read(path) for path in FILES} == FILES
    assert len(ranged) >= 4
    assert {entry.status for entry in ranged} == {200}
    assert sum(entry.sent for entry in ranged) <= sum(map(len, FILES.values()))


@pytest.mark.parametrize(
    ("model", "fields", "error", "reason", "words"),
    [
        (SPEECH, {"revision": "v9"}, NotFound, "RevisionNotFound", "no branch, tag or commit 'v9'; correct"),
        (SPEECH, {"repo": "acme/missing"}, NotFound, "RepositoryNotFound", "no model acme/missing on .* or it is"),
        (Model(FILES, private=True), {}, Denied, "Denied", r"is private, or asks .*: add `auth: "),
        (SPEECH, {"include": ("*.bin",)}, InvalidSpec, "InvalidSpec", r"include \(\*\.bin\) matches 0"),
        (Model({f"{n:04}": b"" for n in range(3001)}), {}, InvalidSpec, "InvalidSpec", "3000 files and directories or"),
    ],
)
async def test_each_refusal_has_a_reason_and_a_remedy(
    model: Model, fields: dict[str, object], error: type[ModelferryError], reason: str, words: str
) -> None:
    async with served(model) as server:
        with pytest.raises(error, match=words) as caught:
            await resolved(server, **fields)
    assert caught.value.reason == reason


async def test_a_token_is_sent_as_bearer_and_as_cookie() -> None:
    async with served(Model(FILES, private=True, readers=frozenset({"ms_planted"}))) as server:
        guarded = HostScoped(modelscope_session("ms_planted"), frozenset({server.authority}), plain_http=True)
        assert len((await resolved(server, guarded)).files) == 3
        fields = server.log[0].request.fields
    assert (fields["authorization"], fields["cookie"]) == ("Bearer ms_planted", "m_session_id=ms_planted")
    assert "ms_planted" not in repr(guarded)
