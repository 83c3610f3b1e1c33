"""``modelferry pull``, run as a shell runs it: an origin with a certificate, an artifact and a target."""

from __future__ import annotations

import asyncio
import hashlib
import json
import os
import random
import signal
import sys
from collections.abc import AsyncIterator, Callable, Mapping
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import yaml

from modelferry.manifest import CHUNK_SIZE
from origin.certs import Authority
from origin.rules import Rule
from origin.server import HostileOrigin

MODELFERRY = str(Path(sys.executable).with_name("modelferry"))
CONTENTS = {
    "asset/model.safetensors": random.Random(1).randbytes(3 * CHUNK_SIZE + 12345),
    "config/path.yaml": b"gpt: asset/gpt.safetensors\n",
    "empty": b"",
}
SIZE = sum(map(len, CONTENTS.values()))
CONNECTIONS = 2

#: Holds back a chunk that is asked for when others are on the disk (the smallest is asked for first): time to
#: interrupt in the middle.
HELD_BACK = Rule(path="asset/*", covers=2 * CHUNK_SIZE, delay=5)


@dataclass(frozen=True)
class Ended:
    """How the command ended, and what it printed."""

    code: int
    out: str
    err: str

    def events(self, kind: str) -> list[dict[str, Any]]:
        return [event for line in self.out.splitlines() if (event := json.loads(line))["event"] == kind]


@dataclass
class CommandHarness:
    """An origin with a certificate, an artifact, a target, and a temporary directory that must be empty afterwards."""

    directory: Path
    authority: Authority
    origin: HostileOrigin

    @property
    def target(self) -> Path:
        return self.directory / "target"

    @property
    def temporary(self) -> Path:
        return self.directory / "tmp"

    def write(self, change: Callable[[list[dict[str, Any]]], object] = lambda files: None, **transfer: Any) -> Path:
        """Write the artifact; `change` gets its list of files first."""
        files: list[dict[str, Any]] = [
            {"path": path, "url": self.origin.url(path), "sha256": hashlib.sha256(content).hexdigest()}
            for path, content in CONTENTS.items()
        ]
        change(files)
        artifact = {
            "apiVersion": "modelferry.dev/v1alpha1",
            "kind": "ModelArtifact",
            "metadata": {"name": "chattts"},
            "spec": {"source": {"http": {"files": files}}, "transfer": {"connections": CONNECTIONS} | transfer},
        }
        path = self.directory / "model.yaml"
        path.write_text(yaml.safe_dump(artifact))
        return path

    @asynccontextmanager
    async def started(
        self,
        *options: str,
        trust: bool = True,
        environment: dict[str, str] | None = None,
        terminal: int = asyncio.subprocess.PIPE,
        redirect: str = "",
    ) -> AsyncIterator[asyncio.subprocess.Process]:
        """The command, running in a process group of its own, as a shell would start it, with its `redirect`."""
        trusted = ["--ca-file", str(self.authority.ca_file)] if trust else []
        artifact = self.directory / "model.yaml"
        process = await asyncio.create_subprocess_exec(
            *(("sh", "-c", f'exec "$@" {redirect}', "sh") if redirect else ()),
            *(MODELFERRY, "pull", str(artifact), "--to", str(self.target), *trusted, *options),
            stdout=asyncio.subprocess.PIPE,
            stderr=terminal,
            env=os.environ | {"TMPDIR": str(self.temporary), "TERM": "xterm-256color"} | (environment or {}),
            start_new_session=True,
            limit=1 << 20,
            cwd=self.directory,
        )
        try:
            yield process
        finally:
            if process.returncode is None:
                os.killpg(process.pid, signal.SIGKILL)
                await process.wait()

    async def pull(self, *options: str, trust: bool = True, environment: dict[str, str] | None = None) -> Ended:
        """Run the command to its end."""
        async with self.started(*options, trust=trust, environment=environment) as process:
            return await ended(process)

    def current(self) -> dict[str, bytes]:
        """The published files, by path."""
        current = self.target / "current"
        paths = [path for path in current.rglob("*") if path.is_file() and not path.name.startswith(".modelferry")]
        return {str(path.relative_to(current)): path.read_bytes() for path in paths}


async def ended(process: asyncio.subprocess.Process) -> Ended:
    out, err = await process.communicate()
    assert process.returncode is not None
    return Ended(process.returncode, out.decode(), err.decode())


async def until_some_is_verified(process: asyncio.subprocess.Process) -> dict[str, Any]:
    """Read progress events up to the first with a chunk on the disk."""
    assert process.stdout is not None
    async for line in process.stdout:
        event: dict[str, Any] = json.loads(line)
        if event["event"] == "progress" and event["done"] >= CHUNK_SIZE:
            return event
    raise AssertionError("it ended without a chunk on the disk")


def children(parent: int) -> dict[str, int]:
    """The agents that run below process `parent`: their role and process id."""
    found = {}
    for entry in Path("/proc").glob("[0-9]*"):
        try:
            status = (entry / "stat").read_text().rpartition(") ")[2].split()
            words = (entry / "cmdline").read_bytes().decode().split("\0")
        except (FileNotFoundError, ProcessLookupError):
            continue
        if int(status[1]) == parent and status[0] != "Z" and "agent" in words:
            found[words[words.index("agent") + 1]] = int(entry.name)
    return found


async def gone(pids: Mapping[str, int]) -> None:
    """Return when none of the processes runs any more."""
    for pid in pids.values():
        try:
            descriptor = os.pidfd_open(pid)
        except ProcessLookupError:
            continue
        over = asyncio.Event()
        asyncio.get_running_loop().add_reader(descriptor, over.set)
        await asyncio.wait_for(over.wait(), 20)
        asyncio.get_running_loop().remove_reader(descriptor)
        os.close(descriptor)


def with_mirror(file: Path, url: str, **fields: str) -> None:
    """Give the artifact in `file` a mirror."""
    artifact = yaml.safe_load(file.read_text())
    artifact["spec"]["mirrors"] = [{"name": "near", "url": url} | fields]
    file.write_text(yaml.safe_dump(artifact))


def read_to_the_end(terminal: int) -> str:
    """What is written to a pseudo-terminal until no process has it open any more."""
    seen = b""
    with suppress(OSError):  # EIO is its end
        while piece := os.read(terminal, 65536):
            seen += piece
    os.close(terminal)
    return seen.decode()
