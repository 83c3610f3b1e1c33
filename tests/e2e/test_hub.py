"""Hubs, from YAML to Ready: the pinned commit, the token that only the hub receives, and denied access."""

from __future__ import annotations

import json
import shlex
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from random import Random
from typing import Any

import pytest

from e2e.namespace_client import NamespaceClient, artifact, digests, readable_output
from e2e.origins import MIB
from e2e.platform import Platform
from modelferry.manifest import CHUNK_SIZE
from origin.certs import Leaf
from origin.hub import CDN, Hub, Repo
from origin.modelscope import Model, ModelScope
from origin.planted import found_in
from origin.web import WebRequest, threaded
from readme import PROJECT, REPOSITORY, commands, example

#: May occur only in the Secret and in requests to the hub.
PLANTED = "hf_planted5e2e"
FILES = {f"config/{number:02}.yaml": b"x: %d\n" % number for number in range(40)}
FILES["asset/gpt.safetensors"] = Random(2).randbytes(2 * CHUNK_SIZE + 4097)
MANY = Repo({f"part/{number:04}.json": b"%d" % number for number in range(2000)}, lfs_from=MIB)
PUBLIC = Repo({"config/path.yaml": b"x: 1\n", "asset/gpt.safetensors": FILES["asset/gpt.safetensors"]}, lfs_from=MIB)
GATED = Repo(FILES, gated=True, readers=frozenset({PLANTED}), lfs_from=MIB)


@dataclass(frozen=True)
class Hubs:
    """The servers of this module."""

    hub: Hub
    cdn: CDN
    scope: ModelScope

    def source(self, **fields: str) -> dict[str, Any]:
        """``spec.source`` for the gated repository, or with other `fields`."""
        return {"huggingFace": {"repo": "acme/speech", "endpoint": self.hub.base} | fields}


def throttled(number: int, request: WebRequest) -> bool:
    """From time to time three requests in a row are answered with 429."""
    return "/acme/many/" in request.path and number % 500 in (0, 1, 2)


@pytest.fixture
def hubs(installed: Platform, leaf: Leaf) -> Iterator[Hubs]:
    """A Hub with its CDN, and a ModelScope, where pods reach them."""
    where: dict[str, Any] = {"tls": leaf.context(), "host": installed.host_address}
    cdn = CDN(**where)
    repos = {"acme/speech": GATED, "acme/many": MANY, REPOSITORY: PUBLIC}
    hub = Hub(repos, cdn, tokens=frozenset({PLANTED}), page=30, busy=throttled, **where)
    scope = ModelScope({"acme/speech": Model(FILES)}, **where)
    with threaded(cdn, hub, scope):
        yield Hubs(hub, cdn, scope)


def secret(ns: NamespaceClient, name: str = "hub", token: str = PLANTED) -> None:
    body = {"apiVersion": "v1", "kind": "Secret", "metadata": {"name": name}, "stringData": {"token": token}}
    # Not by apply, which leaves a copy in an annotation; nor by words of a command line.
    ns.kubectl("create", "-f", "-", input=json.dumps(body))


def wanted(name: str, source: dict[str, Any], **spec: Any) -> dict[str, Any]:
    return artifact(name, [], **{"source": source} | spec)


@contextmanager
def watched() -> Iterator[set[str]]:
    """The command lines of all processes of this machine that run meanwhile: looked at again and again, since a
    download of a few megabytes is soon over."""
    seen: set[str] = set()
    over = threading.Event()

    def look() -> None:
        while not over.wait(0.05):
            seen.update(command_lines())

    looking = threading.Thread(target=look)
    looking.start()
    try:
        yield seen
    finally:
        over.set()
        looking.join()


def command_lines() -> list[str]:
    """Of every process of this machine, the nodes' among them."""
    found = []
    for entry in Path("/proc").glob("[0-9]*/cmdline"):
        try:
            found.append(entry.read_bytes().replace(b"\0", b" ").decode(errors="replace"))
        except (FileNotFoundError, ProcessLookupError):
            continue
    return found


def test_a_gated_repository_is_ready_at_its_commit_and_only_the_hub_receives_the_token(
    ns: NamespaceClient, hubs: Hubs
) -> None:
    secret(ns)
    ran: set[str] = set()

    def ready() -> bool:
        ran.update(name for name, text in readable_output(ns).items() if found_in(text, PLANTED))
        return bool(ns.condition("speech", "Ready").get("status") == "True")

    with watched() as seen:
        ns.apply(wanted("speech", hubs.source(revision="main"), auth={"secretRef": {"name": "hub"}}))
        ns.wait("speech to be Ready", ready, 180)
    status = ns.status("speech")
    assert (status["revision"], status["checksum"], status["files"]) == (GATED.commit, "Verified", len(FILES))
    assert ns.files_on_disk("speech") == digests(FILES)
    assert {entry.request.token for entry in hubs.hub.log} == {PLANTED}
    assert hubs.cdn.log
    assert not any(PLANTED in str(entry) for entry in hubs.cdn.log)
    assert any("agent fetch" in line for line in seen), "no download was seen running"
    assert not [line for line in seen if found_in(line, PLANTED)]
    assert ran == set()
    for node in ns.platform.nodes.nodes:
        found_files = node.exec(
            ["sh", "-c", f"grep -rl {PLANTED} /var/lib/modelferry /var/log/pods 2>/dev/null || true"]
        )
        assert found_files.strip() == ""


def test_the_readme_s_example_and_commands_work_as_they_stand(
    ns: NamespaceClient, hubs: Hubs, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "model.yaml").write_text(example(hubs.hub.base))
    monkeypatch.chdir(tmp_path)
    for line in commands("kubectl"):
        ns.kubectl(*shlex.split(line)[1:], timeout=200)
    status = ns.status("chattts")
    assert (status["revision"], status["checksum"]) == (PUBLIC.commit, "Verified")
    [helm] = commands("helm")
    monkeypatch.chdir(PROJECT)
    repository, _, tag = ns.platform.image.rpartition(":")
    words = helm.replace("REGISTRY/modelferry", repository).replace("0.1.0", tag)
    assert "STATUS: pending-upgrade" in ns.platform.helm(*shlex.split(words)[1:], "--dry-run=server")


def test_without_a_token_a_gated_repository_is_reported_with_the_remedy(ns: NamespaceClient, hubs: Hubs) -> None:
    ns.apply(wanted("gated", hubs.source()))
    said = ns.wait_stalled("gated", "GatedRepo")
    assert f"is gated, and this client has no access; ask for access at {hubs.hub.base}/acme/speech" in said
    assert "spec.auth" in said


def test_missing_repositories_and_revisions_are_distinguished_without_showing_the_token(
    ns: NamespaceClient, hubs: Hubs
) -> None:
    secret(ns)
    with_token = {"auth": {"secretRef": {"name": "hub"}}}
    ns.apply(wanted("revision", hubs.source(revision="v9"), **with_token))
    ns.apply(wanted("repository", hubs.source(repo="acme/missing"), **with_token))
    ns.apply(wanted("patterns", {"huggingFace": {**hubs.source()["huggingFace"], "include": ["*.bin"]}}, **with_token))
    assert "has no branch, tag or commit 'v9'; correct" in ns.wait_stalled("revision", "RevisionNotFound")
    assert "there is no model acme/missing" in ns.wait_stalled("repository", "RepositoryNotFound")
    assert "include (*.bin) matches 0" in ns.wait_stalled("patterns", "InvalidSpec")
    assert [name for name, text in readable_output(ns).items() if found_in(text, PLANTED)] == []


def test_a_modelscope_model_is_ready_at_its_commit_in_each_layout(ns: NamespaceClient, hubs: Hubs) -> None:
    source, commit = {"modelScope": {"repo": "acme/speech", "endpoint": hubs.scope.base}}, Model(FILES).commit
    ns.apply(wanted("scoped", source, layout="huggingface"))
    ns.wait_ready("scoped")
    status = ns.status("scoped")
    assert (status["revision"], status["checksum"]) == (commit, "Verified")
    folder = "models--acme--speech"
    cache = {f"{folder}/snapshots/{commit}/{path}": content for path, content in FILES.items()}
    cache |= {f"{folder}/refs/{ref}": commit.encode() for ref in ("main", "master")}
    assert ns.files_on_disk("scoped") == digests(cache)
    asked = len(hubs.scope.log)
    ns.apply(wanted("scoped", source, layout="both"))
    # Pods that mounted the first layout keep it.
    kept = {f".modelferry-hub/{path}": content for path, content in cache.items()}
    ns.wait("both layouts", lambda: ns.files_on_disk("scoped") == digests(cache | FILES | kept))
    ns.wait_ready("scoped")
    assert len(hubs.scope.log) == asked, "the second layout was downloaded"


def test_two_thousand_files_are_fetched_despite_many_429_responses(ns: NamespaceClient, hubs: Hubs) -> None:
    first = {"selector": {"kubernetes.io/hostname": ns.platform.node_names[0]}}
    ns.apply(wanted("many", hubs.source(repo="acme/many"), nodes=first))
    ns.wait_ready("many")
    status = ns.status("many")
    assert (status["revision"], status["checksum"], status["files"]) == (MANY.commit, "Verified", 2000)
    assert ns.files_on_disk("many") == digests(MANY.files)
    refused = sum(entry.status == 429 for entry in hubs.hub.log)
    requests = sum("/resolve/" in entry.request.path for entry in hubs.hub.log)
    assert refused >= 9
    assert requests <= 2000 + refused, "files were requested more than once"
    assert not ns.condition("many", "Stalled")
