"""``modelferry pull`` from a Hub: the real command over many files, busy servers, and what becomes of a token."""

from __future__ import annotations

import asyncio
import os
import sys
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path
from random import Random
from typing import Any

import pytest
import yaml

from modelferry.manifest import CHUNK_SIZE
from network.harness import Serve
from origin.certs import Authority, Leaf
from origin.hub import CDN, Hub, Repo
from origin.rules import Rule
from origin.web import WebRequest

pytestmark = pytest.mark.skipif(sys.platform != "linux", reason="looks for the command's children in /proc")

MODELFERRY = str(Path(sys.executable).with_name("modelferry"))
#: In no file, no URL and no message but in the Secret.
PLANTED = "hf_planted7c1e"
FILES = {f"part/{number:04}.json": b"%d" % number for number in range(1999)}
FILES["model.safetensors"] = Random(1).randbytes(2 * CHUNK_SIZE + 99)
REPO = Repo(FILES, gated=True, readers=frozenset({PLANTED}), lfs_from=1024 * 1024)


@dataclass
class Pull:
    """One run of the command: its exit code and output, and what its processes were started with."""

    code: int = -1
    out: str = ""
    arguments: set[str] = field(default_factory=set)


@dataclass(frozen=True)
class Place:
    """Where a pull runs: an artifact, the Secret as files, a target, and a directory for temporary files."""

    root: Path
    authority: Authority

    def write(self, source: dict[str, Any]) -> None:
        """The artifact, with the Secret that it names."""
        spec = {"source": source, "auth": {"secretRef": {"name": "hub"}}}
        document = {
            "apiVersion": "modelferry.dev/v1alpha1",
            "kind": "ModelArtifact",
            "metadata": {"name": "m"},
            "spec": spec,
        }
        (self.root / "model.yaml").write_text(yaml.safe_dump(document))
        (self.root / "secrets" / "hub").mkdir(parents=True)
        (self.root / "secrets" / "hub" / "token").write_text(f"{PLANTED}\n")
        (self.root / "tmp").mkdir()

    async def pull(self, *options: str) -> Pull:
        """Run the command to its end, looking at its processes all the while."""
        done = Pull()
        words = ["pull", str(self.root / "model.yaml"), "--to", str(self.root / "target")]
        words += ["--secrets", str(self.root / "secrets"), "--ca-file", str(self.authority.ca_file), *options]
        process = await asyncio.create_subprocess_exec(
            MODELFERRY, *words, env=os.environ | {"TMPDIR": str(self.root / "tmp")}, limit=1 << 20,
            stdout=asyncio.subprocess.PIPE, stderr=asyncio.subprocess.STDOUT,
        )  # fmt: skip
        assert process.stdout is not None
        # Each line of progress is an occasion to look: the children run then.
        async for line in process.stdout:
            done.out += line.decode()
            done.arguments |= set(command_lines(process.pid))
        done.code = await process.wait()
        return done

    def holders(self, secret: str) -> list[str]:
        """The files below, apart from the Secret itself, that hold `secret`."""
        files = [path for path in self.root.rglob("*") if path.is_file() and not path.is_symlink()]
        found = [path for path in files if secret.encode() in path.read_bytes()]
        return [str(path) for path in found if path.parent != self.root / "secrets" / "hub"]


def command_lines(parent: int) -> Iterator[str]:
    """The arguments and the environment's names of process `parent` and of its children."""
    for entry in Path("/proc").glob("[0-9]*"):
        try:
            mine = int((entry / "stat").read_text().rpartition(") ")[2].split()[1])
            if parent in (mine, int(entry.name)):
                yield (entry / "cmdline").read_bytes().replace(b"\0", b" ").decode()
                yield (entry / "environ").read_bytes().replace(b"\0", b" ").decode(errors="replace")
        except (FileNotFoundError, ProcessLookupError):
            continue


@pytest.fixture
def location(tmp_path: Path, authority: Authority) -> Place:
    return Place(tmp_path, authority)


@asynccontextmanager
async def gated_hub(leaf: Leaf, **options: Any) -> AsyncIterator[tuple[Hub, CDN]]:
    """A gated repository of 2,000 files."""
    tls = leaf.context()
    async with (
        CDN(tls=tls) as cdn,
        Hub({"acme/speech": REPO}, cdn, tls=tls, tokens=frozenset({PLANTED}), **options) as hub,
    ):
        yield hub, cdn


async def test_two_thousand_files_are_fetched_despite_many_429_responses_without_showing_the_token(
    leaf: Leaf, location: Place
) -> None:
    # Three requests in a row are told to come back in a second, every now and then.
    def storm(number: int, request: WebRequest) -> bool:
        return "/resolve/" in request.path and number % 500 in (0, 1, 2)

    async with gated_hub(leaf, busy=storm) as (hub, cdn):
        location.write({"huggingFace": {"repo": "acme/speech", "endpoint": hub.base}})
        done = await location.pull("--json")
        assert done.code == 0, done.out[-2000:]
        current = location.root / "target" / "current"
        assert {path: (current / path).read_bytes() for path in FILES} == FILES
        assert f'"revision": "{REPO.commit}"' in done.out or f'"revision":"{REPO.commit}"' in done.out
        asked_busy = sum(entry.status == 429 for entry in hub.log)
        assert asked_busy >= 3
        # No file was asked for without need: once each, and once more for each refusal and each part of the large one.
        assert sum("/resolve/" in entry.request.path for entry in hub.log) <= len(FILES) + asked_busy + 20
        assert {entry.request.token for entry in hub.log} == {PLANTED}
        assert not any(PLANTED in str(entry) for entry in cdn.log)
    assert any("agent fetch" in words for words in done.arguments), "the children were not seen"
    assert not [words for words in done.arguments if PLANTED in words]
    assert PLANTED not in done.out
    assert location.holders(PLANTED) == []


async def test_errors_do_not_contain_the_token(leaf: Leaf, location: Place, serve: Serve) -> None:
    """Neither where the Hub refuses, nor where the answer is no HTTP and the library's error holds the request."""
    async with gated_hub(leaf) as (hub, _):
        location.write({"huggingFace": {"repo": "acme/missing", "endpoint": hub.base}})
        refused = await location.pull("--json")
        assert [entry.request.token for entry in hub.log] == [PLANTED]
    async with serve({}, rules=[Rule(raw="HTTP/1.1 nonsense\r\n\r\n")]) as origin:
        text = (location.root / "model.yaml").read_text().replace(hub.base, origin.url("").rstrip("/"))
        (location.root / "model.yaml").write_text(text)
        broken = await location.pull()
        assert {entry.authorization for entry in origin.entries} == {f"Bearer {PLANTED}"}
    assert (refused.code, broken.code) == (3, 3)
    assert "RepositoryNotFound" in refused.out
    assert "the answer is not HTTP" in broken.out
    assert PLANTED not in refused.out + broken.out
    assert location.holders(PLANTED) == []
