"""The two agents of a download pod as processes, against a real nginx: killed, restarted, measured."""

from __future__ import annotations

import os
import shutil
import signal
import subprocess
import sys
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path

import pytest

from modelferry.maintenance.revision_check import verify
from modelferry.manifest import CHUNK_SIZE, Digest, FileEntry, Location, Manifest
from modelferry.manifest.entries import content_addressed
from network.pod import DEADLINE, Pod, peak_memory, until
from origin.certs import Authority, Leaf
from origin.model import ModelFile, make_model
from origin.nginx import Nginx

MIB = 1 << 20
CONNECTIONS = 4

pytestmark = pytest.mark.skipif(not shutil.which("nginx", path="/usr/sbin:/usr/bin"), reason="needs nginx")


@dataclass(frozen=True)
class Model:
    """A model's directory and its files."""

    root: Path
    files: list[ModelFile]


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Model]:
    """A small one: 192 MiB in fifteen files."""
    root = tmp_path_factory.mktemp("model")
    yield Model(root, make_model(root, size=192 * MIB))
    shutil.rmtree(root)


@dataclass(frozen=True)
class Scene:
    """An origin, a pod that fetches from it, and what it fetches."""

    nginx: Nginx
    pod: Pod
    files: list[ModelFile]

    @property
    def total(self) -> int:
        return sum(file.size for file in self.files)

    @property
    def sent(self) -> int:
        """Bytes of content that the origin sent."""
        return sum(request.sent for request in self.nginx.requests())


Stage = Callable[..., Scene]


@pytest.fixture
def stage(tmp_path: Path, model: Model, authority: Authority, leaf: Leaf) -> Iterator[Stage]:
    """Makes scenes; ends all their processes."""
    with ExitStack() as stack:

        def make(rate: int | None = None, name: str = "pod") -> Scene:
            nginx = stack.enter_context(Nginx(model.root, leaf=leaf, rate=rate))
            directory = tmp_path / name
            directory.mkdir(exist_ok=True)
            pod = Pod(directory, manifest_of(nginx, model.files), authority.ca_file)
            stack.callback(pod.close)
            return Scene(nginx, pod, model.files)

        yield make


@pytest.fixture
def slow(stage: Stage) -> Scene:
    """Slow enough to be hit in the middle: 16 MiB/s a connection, so three seconds or more in all."""
    return stage(rate=16 * MIB)


def manifest_of(nginx: Nginx, files: list[ModelFile]) -> Manifest:
    return content_addressed(
        tuple(FileEntry(f.path, f.size, Digest("sha256", f.sha256), (Location(nginx.url(f.path)),)) for f in files)
    )


def test_a_model_is_downloaded_over_tls_within_the_memory_limits(stage: Stage) -> None:
    scene = stage()
    pod = scene.pod
    checkpoint, fetch = pod.checkpoint(), pod.fetch(connections=16)
    peaks = {fetch.pid: 0, checkpoint.pid: 0}

    def ended() -> bool:
        for process in (fetch, checkpoint):
            peaks[process.pid] = max(peaks[process.pid], peak_memory(process))
        return fetch.poll() is not None

    until(ended, "fetch to end")
    assert fetch.returncode == 0
    assert pod.is_complete(scene.files)
    assert pod.outcome.ok
    assert pod.outcome.fetched == scene.total == scene.sent
    assert (pod.progress().phase, pod.progress().checksum) == ("published", "verified")
    assert peaks[fetch.pid] <= 48 * MIB
    assert peaks[checkpoint.pid] <= 40 * MIB
    checkpoint.send_signal(signal.SIGTERM)
    assert checkpoint.wait(DEADLINE) == 0
    assert verify(pod.data).ok


def test_after_fetch_is_killed_no_committed_chunk_is_fetched_again(slow: Scene) -> None:
    slow.pod.checkpoint()
    fetch = slow.pod.fetch()
    until(lambda: slow.pod.progress().done >= slow.total // 2, "half of the model")
    fetch.kill()
    fetch.wait()
    assert slow.pod.fetch().wait(DEADLINE) == 0
    assert slow.pod.is_complete(slow.files)
    until(lambda: slow.sent >= slow.total, "nginx to write its log")
    assert slow.sent <= slow.total + CONNECTIONS * CHUNK_SIZE


def test_fetch_continues_after_checkpoint_is_killed(slow: Scene) -> None:
    checkpoint = slow.pod.checkpoint()
    fetch = slow.pod.fetch()
    until(lambda: slow.pod.progress().done >= slow.total // 3, "a third of the model")
    checkpoint.kill()
    checkpoint.wait()
    slow.pod.checkpoint()
    assert fetch.wait(DEADLINE) == 0
    assert slow.pod.is_complete(slow.files)
    assert slow.pod.outcome.fetched == slow.total


def test_committed_chunks_survive_when_both_agents_are_killed(slow: Scene) -> None:
    checkpoint, fetch = slow.pod.checkpoint(), slow.pod.fetch()
    until(lambda: slow.pod.progress().done >= slow.total // 2, "half of the model")
    for process in (checkpoint, fetch):
        process.kill()
        process.wait()
    slow.pod.checkpoint()
    assert slow.pod.fetch().wait(DEADLINE) == 0
    assert slow.pod.is_complete(slow.files)
    assert slow.pod.outcome.fetched <= slow.total // 2 + CHUNK_SIZE


def test_after_sigterm_the_next_run_resumes(slow: Scene) -> None:
    pod = slow.pod
    checkpoint, fetch = pod.checkpoint(), pod.fetch()
    until(lambda: pod.progress().done >= slow.total // 2, "half of the model")
    fetch.send_signal(signal.SIGTERM)
    assert fetch.wait(DEADLINE) == 128 + signal.SIGTERM
    checkpoint.send_signal(signal.SIGTERM)
    assert checkpoint.wait(DEADLINE) == 0
    assert not (pod.directory / "outcome").exists()
    assert not (pod.data / "current").exists()
    pod.checkpoint()
    assert pod.fetch().wait(DEADLINE) == 0
    assert pod.is_complete(slow.files)
    assert pod.outcome.fetched < slow.total


def test_a_second_checkpoint_on_the_same_directory_is_refused_by_pid(stage: Stage) -> None:
    one, two = stage(rate=16 * MIB, name="one").pod, stage(name="two").pod
    two.data = one.data
    first = one.checkpoint()
    one.fetch()
    until(lambda: one.progress().done > 0, "the first to begin")
    two.checkpoint()
    assert two.fetch().wait(DEADLINE) == 4
    assert two.outcome.reason == "DirectoryBusy"
    assert str(first.pid) in two.outcome.message


@pytest.mark.skipif(os.geteuid() != 0 or sys.platform != "linux", reason="needs root on Linux for a small file system")
def test_a_disk_that_is_too_small_is_refused_before_the_first_byte(stage: Stage, tmp_path: Path) -> None:
    scene = stage()
    image = tmp_path / "disk"
    with image.open("wb") as file:
        file.truncate(128 * MIB)
    subprocess.run(["mkfs.ext4", "-q", str(image)], check=True)
    subprocess.run(["mount", "-o", "loop", str(image), str(scene.pod.data)], check=True)
    try:
        scene.pod.checkpoint()
        assert scene.pod.fetch().wait(DEADLINE) == 4
        assert scene.pod.outcome.reason == "InsufficientSpace"
        assert "MiB are missing" in scene.pod.outcome.message
        assert scene.nginx.requests() == []
        assert scene.pod.progress().phase == "failed"
    finally:
        subprocess.run(["umount", "-l", str(scene.pod.data)], check=True)


def test_a_directory_with_other_files_is_not_changed(stage: Stage) -> None:
    pod = stage().pod
    (pod.data / "thesis.tex").write_text("mine")
    pod.checkpoint()
    assert pod.fetch().wait(DEADLINE) == 2
    assert pod.outcome.reason == "ForeignDirectory"
    assert "thesis.tex" in pod.outcome.message
    assert {path.name for path in pod.data.iterdir()} == {"thesis.tex"}
