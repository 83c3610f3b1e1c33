"""``modelferry pull hf://…`` and the like: without a YAML file, with the credentials that the source's tools use."""

from __future__ import annotations

import hashlib
import json
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from random import Random

import pytest
import yaml

from modelferry.resource.parse import parse_artifact
from network.harness import Serve
from network.references import Desk
from origin.certs import Authority, Leaf
from origin.hub import CDN, Hub, Repo
from origin.modelscope import Model, ModelScope

#: In no command line and no output.
TOKEN = "hf_planted-token"
FILES = {
    "README.md": b"# Speech\n",
    "config/path.yaml": b"x: 1\n",
    "asset/gpt.safetensors": Random(3).randbytes(300_000),
}
REPO = Repo(FILES, refs=("main", "v1"))
GATED = Repo(FILES, gated=True, readers=frozenset({TOKEN}))


@pytest.fixture
def desk(tmp_path: Path, authority: Authority) -> Desk:
    return Desk(tmp_path, authority)


@pytest.fixture
async def hub(leaf: Leaf) -> AsyncIterator[Hub]:
    """A Hub with a public and a gated repository."""
    async with running(leaf) as found:
        yield found


@asynccontextmanager
async def running(leaf: Leaf) -> AsyncIterator[Hub]:
    tls = leaf.context()
    repos = {"2Noise/ChatTTS": REPO, "acme/gated": GATED}
    async with CDN(tls=tls) as cdn, Hub(repos, cdn, tls=tls, tokens=frozenset({TOKEN})) as found:
        yield found


async def test_a_repository_is_pulled_into_a_directory_with_its_name(desk: Desk, hub: Hub) -> None:
    done = await desk.run("pull", "hf://2Noise/ChatTTS", HF_ENDPOINT=hub.base)
    assert done.code == 0, done.err
    assert desk.files("chattts") == FILES
    assert f"complete and verified in {desk.root}/work/chattts/current" in done.out
    again = await desk.run("pull", "hf://2Noise/ChatTTS", HF_ENDPOINT=hub.base)
    assert (again.code, "is already in" in again.out) == (0, True)


async def test_what_the_disk_damaged_is_repaired_from_the_same_reference(desk: Desk, hub: Hub) -> None:
    await desk.run("pull", "hf://acme/gated", HF_ENDPOINT=hub.base, HF_TOKEN=TOKEN)
    damaged = desk.root / "work/gated/current/config/path.yaml"
    damaged.chmod(0o644)
    damaged.write_bytes(b"x: 2\n")
    words = ("verify", "gated", "--repair", "hf://acme/gated")
    done = await desk.run(*words, HF_ENDPOINT=hub.base, HF_TOKEN=TOKEN)
    assert (done.code, desk.files("gated")) == (0, FILES), done.err


async def test_a_path_and_patterns_select_files(desk: Desk, hub: Hub) -> None:
    endpoint = ("--endpoint", hub.base)
    for number, (words, files) in enumerate(
        [
            (("hf://2Noise/ChatTTS@v1/config",), {"config/path.yaml"}),
            (("hf://2Noise/ChatTTS/*.safetensors",), {"asset/gpt.safetensors"}),
            (("hf://2Noise/ChatTTS", "--exclude", "*.md", "--exclude", "asset/"), {"config/path.yaml"}),
        ]
    ):
        done = await desk.run("pull", *words, "--to", f"t{number}", *endpoint)
        assert (done.code, set(desk.files(f"t{number}"))) == (0, files), done.err


@pytest.mark.parametrize("where", ["variable", "file", "other variable"])
async def test_a_token_comes_from_the_environment_and_is_in_no_command_line(desk: Desk, hub: Hub, where: str) -> None:
    environment, words = {"HF_TOKEN": TOKEN}, ["pull", "hf://acme/gated", "--json"]
    if where == "file":
        (desk.home / ".cache/huggingface").mkdir(parents=True)
        (desk.home / ".cache/huggingface/token").write_text(f"{TOKEN}\n")
        environment = {}
    if where == "other variable":
        environment, words = {"MINE": TOKEN, "HF_TOKEN": "no"}, [*words, "--token-env", "MINE"]
    lines: set[str] = set()
    done = await desk.run(*words, watched=lines, HF_ENDPOINT=hub.base, **environment)
    assert done.code == 0, done.err
    assert desk.files("gated") == FILES
    assert any("agent fetch" in line for line in lines), "the children were not seen"
    assert TOKEN not in "".join(lines) + done.out + done.err
    left = [path for path in (desk.root / "tmp", desk.root / "work") for path in path.rglob("*") if path.is_file()]
    assert not [path for path in left if TOKEN.encode() in path.read_bytes()]


async def test_what_a_token_lacks_is_said_with_the_variable_to_set(desk: Desk, hub: Hub) -> None:
    gated = await desk.run("pull", "hf://acme/gated", HF_ENDPOINT=hub.base)
    assert (gated.code, gated.err.partition(":")[2].partition(":")[0]) == (3, " GatedRepo")
    assert f"ask for access at {hub.base}/acme/gated" in gated.err
    assert "On this command line, the token is that of HF_TOKEN, or of `hf auth login`\n" in gated.err
    missing = await desk.run("pull", "hf://acme/missing", "--json", HF_ENDPOINT=hub.base)
    assert list((desk.root / "work").iterdir()) == [], "an empty target was left"
    [error] = missing.events("error")
    assert (missing.code, error["reason"]) == (3, "RepositoryNotFound")
    assert error["message"].endswith("the token is that of HF_TOKEN, or of `hf auth login`")
    wrong = await desk.run("pull", "hf://acme/gated", HF_ENDPOINT=hub.base, HF_TOKEN="hf_planted-wrong")
    assert (wrong.code, "TokenRefused" in wrong.err, "planted" in wrong.err) == (3, True, False)


async def test_print_writes_the_yaml_that_pull_reads_again(desk: Desk, hub: Hub) -> None:
    words = ("hf://2Noise/ChatTTS@v1", "--include", "config/", "--bandwidth", "40Mbit", "--connections", "3")
    printed = await desk.run("pull", *words, "--print", HF_ENDPOINT=hub.base)
    assert (printed.code, printed.err) == (0, "")
    spec = parse_artifact(yaml.safe_load(printed.out)).spec
    assert spec.transfer.connections == 3
    assert hub.log == [], "print requests nothing"
    done = await desk.run("pull", "-", given=printed.out)
    assert (done.code, set(desk.files("chattts"))) == (0, {"config/path.yaml"}), done.err


async def test_print_says_how_a_token_becomes_a_secret_and_has_no_token(desk: Desk, hub: Hub) -> None:
    """A user with a token has a public model on a cluster without any Secret."""
    printed = await desk.run("pull", "hf://acme/gated", "--print", HF_ENDPOINT=hub.base, HF_TOKEN=TOKEN)
    assert "auth" not in yaml.safe_load(printed.out)["spec"]
    assert "needs spec.auth: {secretRef: {name: hugging-face}}, after\n" in printed.out
    assert "printenv HF_TOKEN | kubectl create secret generic hugging-face --from-file=token=/dev/stdin" in printed.out
    words = ("pull", "hf://acme/gated", "--token-env", "MINE", "--print")
    needed = await desk.run(*words, HF_ENDPOINT=hub.base, MINE=TOKEN)
    assert yaml.safe_load(needed.out)["spec"]["auth"] == {"secretRef": {"name": "hugging-face"}}
    assert "printenv MINE | kubectl create secret" in needed.out
    assert TOKEN not in printed.out + needed.out
    without = await desk.run("pull", "-", given=needed.out)
    assert (without.code, "SecretMissing" in without.err, "--auth-from-env" in without.err) == (2, True, True)
    empty = await desk.run("pull", "-", "--auth-from-env", given=needed.out)
    assert "the environment has no credentials for the source; they are those of HF_TOKEN, or" in empty.err
    done = await desk.run("pull", "-", "--auth-from-env", given=needed.out, HF_TOKEN=TOKEN)
    assert (done.code, desk.files("gated")) == (0, FILES), done.err


async def test_a_model_of_modelscope_is_pulled(desk: Desk, leaf: Leaf) -> None:
    async with ModelScope({"acme/speech": Model(FILES)}, tls=leaf.context()) as scope:
        done = await desk.run("pull", "modelscope://acme/speech", "--endpoint", scope.base, "--exclude", "*.md")
    assert (done.code, set(desk.files("speech"))) == (0, set(FILES) - {"README.md"}), done.err


async def test_urls_are_pulled_each_with_its_digest_or_by_a_checksum_list(desk: Desk, serve: Serve) -> None:
    digests = {path: hashlib.sha256(body).hexdigest() for path, body in FILES.items()}
    listed = "".join(f"{digest}  {path}\n" for path, digest in digests.items()).encode()
    async with serve(FILES | {"SHA256SUMS": listed}) as origin:
        urls = [origin.url("config/path.yaml"), origin.url("asset/gpt.safetensors")]
        given = [word for path in ("config/path.yaml", "asset/gpt.safetensors") for word in ("--sha256", digests[path])]
        done = await desk.run("pull", *urls, *given)
        assert (done.code, set(desk.files("path"))) == (0, {"path.yaml", "gpt.safetensors"}), done.err
        wrong = await desk.run("pull", urls[0], "--sha256", "0" * 64, "--to", "wrong")
        assert (wrong.code, "DigestMismatch" in wrong.err) == (3, True)
        done = await desk.run("pull", origin.url("SHA256SUMS"), "--name", "all")
        assert (done.code, desk.files("all")) == (0, FILES), done.err


async def test_plain_http_needs_its_option(desk: Desk, serve: Serve) -> None:
    async with serve(FILES, tls=None) as origin:
        url = origin.url("README.md")
        refused = await desk.run("pull", url)
        assert (refused.code, "On this command line, that is --allow-plain-http" in refused.err) == (2, True)
        done = await desk.run("pull", url, "--allow-plain-http")
        assert (done.code, desk.files("readme")) == (0, {"README.md": FILES["README.md"]}), done.err
        assert ". On this command line, that is --sha256\n" in done.err, "it has no digest"


async def test_a_target_that_cannot_be_used_is_refused_before_the_first_request(desk: Desk, hub: Hub) -> None:
    (desk.root / "work" / "chattts").mkdir(parents=True)
    (desk.root / "work" / "chattts" / "mine.txt").write_text("mine")
    done = await desk.run("pull", "hf://2Noise/ChatTTS", HF_ENDPOINT=hub.base)
    assert (done.code, "'mine.txt' and no .modelferry" in done.err, hub.log) == (2, True, [])


async def test_a_file_that_is_not_there_may_be_a_repository(desk: Desk) -> None:
    done = await desk.run("pull", "2Noise/ChatTTS", "--json")
    assert done.code == 2
    assert "a repository of the Hugging Face Hub is written hf://2Noise/ChatTTS" in done.err
    assert json.loads(done.out)["reason"] == "InvalidSpec"
    option = await desk.run("pull", "model.yaml", "--include", "*")
    assert "model.yaml: --include is an option of references, and this is a file" in option.err
