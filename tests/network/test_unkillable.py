"""Real agent processes that are killed at their n-th disk operation, or stopped for a while, and a real file system
that fills up. The downloaded bytes are right, and every chunk that is recorded as done is on the disk."""

from __future__ import annotations

import hashlib
import os
import shutil
import signal
import sqlite3
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, closing, suppress
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from random import Random

import pytest
from blake3 import blake3

from modelferry.manifest import Digest, FileEntry, Location
from modelferry.manifest.entries import content_addressed
from network.harness import CHUNK
from network.pod import DEADLINE, Pod, until
from origin.certs import Authority, Leaf

pytestmark = pytest.mark.skipif(sys.platform != "linux", reason="needs the signals and file systems of Linux")

TESTS = Path(__file__).parents[1]
MIB = 1 << 20
#: Kills at random operations, in addition to those of the suite.
MORE = int(os.environ.get("MODELFERRY_KILLS", "0"))


@dataclass
class Scene:
    """An origin process, and a pod that fetches ``a`` from it."""

    origin: subprocess.Popen[str]
    pod: Pod
    data: bytes

    @property
    def is_published(self) -> bool:
        """Is the right file published?"""
        return (self.pod.data / "current" / "a").read_bytes() == self.data

    def check(self) -> None:
        """Assert that every done chunk is on the disk."""
        database = self.pod.data / ".modelferry" / "chunks.db"
        if not database.exists():
            return
        rows = []
        with closing(sqlite3.connect(database)) as db, suppress(sqlite3.OperationalError):
            rows = list(db.execute("SELECT start, \"end\", digest FROM chunks WHERE status = 'done'"))
        if not rows:
            return
        [file] = [*self.pod.data.glob(".modelferry/incoming/*/a"), *self.pod.data.glob("revisions/*/a")]
        data = file.read_bytes()
        assert all(blake3(data[start:end]).digest() == digest for start, end, digest in rows)


Stage = Callable[..., Scene]


@pytest.fixture
def stage(tmp_path: Path, authority: Authority, leaf: Leaf) -> Iterator[Stage]:
    """Creates scenes, and ends their processes."""
    with ExitStack() as stack:

        def make(size: int, rate: int | None = None) -> Scene:
            data = Random(size).randbytes(size)
            root = tmp_path / "root"
            root.mkdir()
            (root / "a").write_bytes(data)
            origin = subprocess.Popen(
                [
                    *(sys.executable, "-m", "origin", "--root", str(root)),
                    *("--cert", str(leaf.cert), "--key", str(leaf.key)),
                    *(("--rate", str(rate)) if rate else ()),
                ],
                env=os.environ | {"PYTHONPATH": str(TESTS)},
                stdout=subprocess.PIPE,
                text=True,
            )
            stack.callback(_end, origin)
            assert origin.stdout is not None
            url = origin.stdout.readline().strip()
            digest = Digest("sha256", hashlib.sha256(data).hexdigest())
            manifest = content_addressed((FileEntry("a", size, digest, (Location(f"{url}a"),)),))
            pod = Pod(tmp_path, manifest, authority.ca_file)
            stack.callback(pod.close)
            return Scene(origin, pod, data)

        yield make


def _end(process: subprocess.Popen[str]) -> None:
    process.send_signal(signal.SIGCONT)
    process.kill()
    process.wait()
    assert process.stdout is not None
    process.stdout.close()


def self_killing(call: int) -> tuple[str, ...]:
    """The command, which kills itself at disk operation number `call`; 0: never."""
    path = f"import sys; sys.path[:0] = [{str(TESTS)!r}]; from network.self_killing import run; sys.exit(run())"
    return sys.executable, "-c", path, str(call), str(CHUNK)


def kills(role: str) -> list[int]:
    """At which disk operation each process of `role` is killed, one process after the other."""
    random = Random(role)
    # The start of checkpoint takes 30 operations; fetch writes 20 times in total.
    operations = [3, 11, 19, 27, 31, 34, 37, 40, 43, 46, 30, 35] if role == "checkpoint" else [1, 2, 3, 4, 5, 6]
    return [*operations, *(random.randint(1, 50 if role == "checkpoint" else 4) for _ in range(MORE))]


def any_ended(*processes: subprocess.Popen[bytes]) -> bool:
    """Has any of them ended?"""
    return any(process.poll() is not None for process in processes)


@pytest.mark.parametrize("role", ["checkpoint", "fetch"])
def test_a_kill_at_any_disk_operation_loses_no_committed_chunk(stage: Stage, role: str) -> None:
    scene = stage(20 * CHUNK + 1234)
    pod = scene.pod
    surviving = self_killing(0)
    other = pod.fetch(program=surviving) if role == "checkpoint" else pod.checkpoint(program=surviving)
    killed = 0
    for call in kills(role):
        start = pod.checkpoint if role == "checkpoint" else pod.fetch
        one = start(program=self_killing(call))
        until(partial(any_ended, one, *([other] if role == "checkpoint" else [])), "one to end")
        if one.poll() != -signal.SIGKILL:
            break
        killed += 1
        scene.check()
    assert killed >= 5
    if role == "fetch":
        assert pod.fetch(program=surviving).wait(DEADLINE) == 0
    elif other.poll() is None:
        pod.checkpoint(program=surviving)
        assert other.wait(DEADLINE) == 0
    assert scene.is_published
    scene.check()


@pytest.mark.parametrize("who", ["fetch", "checkpoint", "origin"])
def test_a_process_that_is_stopped_for_a_while_costs_only_time(stage: Stage, who: str) -> None:
    scene = stage(64 * MIB, rate=8 * MIB)
    checkpoint, fetch = scene.pod.checkpoint(), scene.pod.fetch()
    pid = {"fetch": fetch.pid, "checkpoint": checkpoint.pid, "origin": scene.origin.pid}[who]
    until(lambda: scene.pod.progress().done > 0, "a chunk")
    os.kill(pid, signal.SIGSTOP)
    since = time.monotonic()
    until(lambda: time.monotonic() > since + 1.5, "a while")
    os.kill(pid, signal.SIGCONT)
    assert fetch.wait(DEADLINE) == 0
    assert scene.is_published
    # No chunk was fetched twice, but perhaps the bytes in flight of a stream that was cancelled because it was slow.
    assert len(scene.data) <= scene.pod.outcome.fetched < len(scene.data) + 4 * MIB


@pytest.fixture
def mount(tmp_path: Path) -> Iterator[Callable[..., Path]]:
    """Mounts a new ext4 file system of 96 MiB."""
    if os.geteuid() != 0 or not shutil.which("mkfs.ext4"):
        pytest.skip("needs root and mkfs.ext4 for a small file system")
    mounted: list[Path] = []

    def make(where: Path, *options: str) -> Path:
        image = tmp_path / "disk"
        with image.open("wb") as file:
            file.truncate(96 * MIB)
        subprocess.run(["mkfs.ext4", "-q", *options, str(image)], check=True)
        command = ["mount", "-o", "loop", str(image), str(where)]
        done = subprocess.run(command, capture_output=True, text=True, check=False)
        if done.returncode:
            pytest.skip(f"no loop device can be mounted here: {done.stderr.strip()}")
        mounted.append(where)
        return where

    yield make
    for where in mounted:
        subprocess.run(["umount", "-l", str(where)], check=True)


def fill(directory: Path) -> Path:
    """Use all free space."""
    filler = directory / ".modelferry" / "filler"
    with filler.open("wb", buffering=0) as file, suppress(OSError):
        while file.write(bytes(4096)):
            pass
    return filler


@pytest.mark.parametrize("extents", [True, False], ids=["preallocated", "cannot preallocate"])
def test_a_full_disk_is_reported_and_with_free_space_again_the_download_continues(
    stage: Stage, mount: Callable[..., Path], extents: bool
) -> None:
    scene = stage(40 * MIB, rate=8 * MIB)
    pod = scene.pod
    mount(pod.data, *(() if extents else ("-O", "^extents,^64bit,^metadata_csum")))
    checkpoint, fetch = pod.checkpoint(), pod.fetch(connections=1)
    until(lambda: pod.progress().done > 0, "a chunk")
    filler = fill(pod.data)
    # The preallocated chunks can be written, but not recorded.
    assert fetch.wait(DEADLINE) == 4
    assert pod.outcome.reason == "InsufficientSpace"
    assert "the disk is full" in pod.outcome.message
    scene.check()
    filler.unlink()
    assert pod.fetch().wait(DEADLINE) == 0
    assert pod.outcome.fetched < len(scene.data)
    assert scene.is_published
    assert checkpoint.poll() is None
