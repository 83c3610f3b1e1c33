"""``spec.layout``: what `pull` leaves is a cache that the libraries of Hugging Face read, offline and read-only."""

from __future__ import annotations

import asyncio
import json
import os
import subprocess
import sys
from pathlib import Path
from random import Random
from typing import Any

import pytest
import yaml

from cluster import cache
from network.command.harness import MODELFERRY
from origin.certs import Authority
from origin.hub import CDN, Hub, Repo

FILES = {
    "config.json": b'{"model_type": "speech"}\n',
    "README.md": b"# Speech\n",
    "asset/model-00001-of-00001.safetensors": Random(5).randbytes(300_000),
}
SPEECH = Repo(FILES, refs=("main", "v1"), lfs_from=100_000)
FOLDER = "models--acme--speech"
_LOCK = Path(__file__).with_name("huggingface-hub-0.20.lock")

#: What vLLM and transformers do with ``--model acme/speech``; prints what it found.
_LOAD = """
import json, sys
import huggingface_hub as hub
from huggingface_hub.utils import LocalEntryNotFoundError
commit = sys.argv[1]
found = {"version": hub.__version__, "snapshot": hub.snapshot_download("acme/speech")}
found["again"] = [hub.snapshot_download("acme/speech", revision=revision) for revision in ("main", "v1", commit)]
found["file"] = hub.hf_hub_download("acme/speech", "asset/model-00001-of-00001.safetensors")
found["cached"] = hub.try_to_load_from_cache("acme/speech", "config.json")
try:
    hub.hf_hub_download("acme/speech", "adapter_config.json")
except LocalEntryNotFoundError:
    found["optional"] = "missing"
[repo] = hub.scan_cache_dir().repos
found["scan"] = [repo.repo_id, sorted(repo.refs), sum(revision.nb_files for revision in repo.revisions)]
print(json.dumps(found))
"""
#: As in a pod that mounts the claim: the file system is read-only, whoever asks.
_READ_ONLY = 'mount --bind "$1" "$1" && mount -o remount,bind,ro "$1" && shift && exec "$@"'


@pytest.fixture(scope="session")
def oldest_client() -> Path:
    """A directory with huggingface_hub 0.20 alone; what it imports is that of the current one."""

    def build(directory: Path) -> None:
        pip = [sys.executable, "-m", "pip", "install", "--quiet", "--disable-pip-version-check", "--no-deps"]
        subprocess.run([*pip, "--require-hashes", "-r", _LOCK, "--target", directory], check=True)

    return cache.built("huggingface-hub", cache.key_of(_LOCK), build)


async def pulled(root: Path, authority: Authority, hub: Hub, layout: str) -> tuple[Path, int]:
    """Run `pull` for acme/speech at v1; returns the directory that a pod mounts, and the bytes that were fetched."""
    source = {"huggingFace": {"repo": "acme/speech", "endpoint": hub.base, "revision": "v1"}}
    document = {
        "apiVersion": "modelferry.dev/v1alpha1",
        "kind": "ModelArtifact",
        "metadata": {"name": "speech"},
        "spec": {"source": source, "layout": layout},
    }
    (root / "model.yaml").write_text(yaml.safe_dump(document))
    words = ["pull", root / "model.yaml", "--to", root / "target", "--ca-file", authority.ca_file, "--quiet", "--json"]
    pipe = asyncio.subprocess.PIPE
    process = await asyncio.create_subprocess_exec(MODELFERRY, *map(str, words), stdout=pipe, stderr=pipe)
    out, said = await process.communicate()
    assert process.returncode == 0, said.decode()
    return root / "target" / "current", json.loads(out.splitlines()[-1])["fetched"]


def loaded(mount: Path, home: Path, library: Path | None) -> dict[str, Any]:
    """What the client finds in the read-only directory `mount`. `library`: where it is, if not the installed one."""
    if os.geteuid() == 0:
        command = ["unshare", "--mount", "sh", "-c", _READ_ONLY, "sh", str(mount)]
    else:
        command = []
        subprocess.run(["chmod", "-R", "a-w", mount.resolve()], check=True)
    environment = {"PATH": os.environ["PATH"], "HOME": str(home), "HF_HOME": str(home / "hf")}
    environment |= {"HF_HUB_CACHE": str(mount), "HF_HUB_OFFLINE": "1", "HF_HUB_DISABLE_TELEMETRY": "1"}
    environment |= {"PYTHONPATH": str(library)} if library else {}
    command += [sys.executable, "-c", _LOAD, SPEECH.commit]
    done = subprocess.run(command, env=environment, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    found: dict[str, Any] = json.loads(done.stdout.splitlines()[-1])
    # Some versions resolve the link `current`.
    paths = {name: str(Path(found[name]).resolve()) for name in ("snapshot", "file", "cached")}
    return found | paths | {"again": [str(Path(path).resolve()) for path in found["again"]]}


@pytest.mark.parametrize("client", ["0.20", "installed"])
@pytest.mark.parametrize("layout", ["huggingface", "both"])
async def test_the_client_finds_the_model_by_its_name_offline_and_read_only(
    tmp_path: Path, request: pytest.FixtureRequest, layout: str, client: str
) -> None:
    """huggingface/huggingface_hub#2797, #4487; llm-d/llm-d-modelservice#243: a read-only cache in a volume."""
    library = request.getfixturevalue("oldest_client") if client == "0.20" else None
    authority = Authority(tmp_path)
    tls = authority.leaf("127.0.0.1").context()
    async with CDN(tls=tls) as cdn, Hub({"acme/speech": SPEECH}, cdn, tls=tls) as hub:
        mount, _ = await pulled(tmp_path, authority, hub, layout)
        asked = len(hub.log)
        found = await asyncio.to_thread(loaded, mount, tmp_path, library)
        assert len(hub.log) == asked
    assert found["version"].startswith("0.20." if client == "0.20" else "2.")
    snapshot = (mount / FOLDER / "snapshots" / SPEECH.commit).resolve()
    assert {found["snapshot"], *found["again"]} == {str(snapshot)}
    assert found["file"] == str(snapshot / "asset" / "model-00001-of-00001.safetensors")
    assert found["cached"] == str(snapshot / "config.json")
    assert found["optional"] == "missing"
    assert found["scan"] == ["acme/speech", ["main", "v1"], len(FILES)]
    assert {path: (snapshot / path).read_bytes() for path in FILES} == FILES
    assert (mount / "config.json").exists() == (layout == "both")


async def test_another_layout_of_the_same_commit_downloads_nothing(tmp_path: Path) -> None:
    authority = Authority(tmp_path)
    tls = authority.leaf("127.0.0.1").context()
    async with CDN(tls=tls) as cdn, Hub({"acme/speech": SPEECH}, cdn, tls=tls) as hub:
        mount, _ = await pulled(tmp_path, authority, hub, "plain")
        assert not (mount / FOLDER).exists()
        for layout in ("huggingface", "both", "plain"):
            assert await pulled(tmp_path, authority, hub, layout) == (mount, 0)
            assert (mount / "config.json").exists() == (layout != "huggingface")
            assert (mount / FOLDER / "refs" / "v1").exists()
