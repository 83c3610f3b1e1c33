"""A download pod without Kubernetes: the two agents as processes, with a shared directory."""

from __future__ import annotations

import hashlib
import http.client
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Sequence
from contextlib import ExitStack, suppress
from pathlib import Path

from modelferry.manifest import Manifest, encode
from modelferry.messages import Outcome, Progress
from origin.model import ModelFile

#: Seconds that a test waits for a process.
DEADLINE = 60.0
#: The command line of a process.
MODELFERRY = (sys.executable, "-c", "from modelferry.cli.main import main; raise SystemExit(main())")


def until(condition: Callable[[], bool], what: str) -> None:
    """Wait until `condition` is true, for at most `DEADLINE` seconds."""
    deadline = time.monotonic() + DEADLINE
    while not condition():
        assert time.monotonic() < deadline, f"waited {DEADLINE:.0f} s for {what}"
        time.sleep(0.02)


class Pod:
    """A directory, a manifest, and the two agents."""

    def __init__(self, directory: Path, manifest: Manifest, ca_file: Path) -> None:
        self.directory, self.ca_file = directory, ca_file
        self.data = directory / "data"
        self.data.mkdir(exist_ok=True)
        (directory / "manifest").write_bytes(encode(manifest))
        locations = [f"{{path: {file.path}, url: '{file.locations[0].url}'}}" for file in manifest.files]
        (directory / "artifact.yaml").write_text(
            "apiVersion: modelferry.dev/v1alpha1\nkind: ModelArtifact\nmetadata: {name: m}\n"
            f"spec: {{source: {{http: {{files: [{', '.join(locations)}]}}}}}}\n"
        )
        self._stack = ExitStack()

    def close(self) -> None:
        self._stack.close()

    def checkpoint(self, program: Sequence[str] = MODELFERRY) -> subprocess.Popen[bytes]:
        """Start the sidecar."""
        return self._start(
            program,
            *("checkpoint", "--data", str(self.data), "--manifest", str(self.directory / "manifest")),
            *("--socket", str(self.directory / "c.sock"), "--status-socket", str(self.directory / "s.sock")),
        )

    def fetch(self, connections: int = 4, program: Sequence[str] = MODELFERRY) -> subprocess.Popen[bytes]:
        """Start the main container."""
        return self._start(
            program,
            *("fetch", "--artifact", str(self.directory / "artifact.yaml"), "--connections", str(connections)),
            *("--manifest", str(self.directory / "manifest"), "--socket", str(self.directory / "c.sock")),
            *("--outcome", str(self.directory / "outcome"), "--ca-file", str(self.ca_file)),
        )

    def _start(self, program: Sequence[str], *arguments: str) -> subprocess.Popen[bytes]:
        process = subprocess.Popen([*program, "agent", *arguments])
        self._stack.callback(_end, process)
        return process

    def progress(self) -> Progress:
        """The progress from the sidecar; the phase is "gone" while it does not answer."""
        with socket.socket(socket.AF_UNIX) as raw, suppress(OSError, http.client.HTTPException, ValueError):
            raw.connect(str(self.directory / "s.sock"))
            connection = http.client.HTTPConnection("pod")
            connection.sock = raw
            connection.request("GET", "/v1/progress")
            return Progress.decode(connection.getresponse().read())
        return Progress("gone")

    @property
    def outcome(self) -> Outcome:
        outcome = Outcome.decode((self.directory / "outcome").read_text())
        assert outcome is not None
        return outcome

    def is_complete(self, files: list[ModelFile]) -> bool:
        """Whether the published files are those of the model."""
        return all(
            hashlib.sha256((self.data / "current" / file.path).read_bytes()).hexdigest() == file.sha256
            for file in files
        )


def _end(process: subprocess.Popen[bytes]) -> None:
    if process.poll() is None:
        process.kill()
    process.wait()


def peak_memory(process: subprocess.Popen[bytes]) -> int:
    """The peak resident memory, in bytes; 0 if the process has ended."""
    with suppress(OSError):
        for line in Path(f"/proc/{process.pid}/status").read_text().splitlines():
            if line.startswith("VmHWM:"):
                return int(line.split()[1]) * 1024
    return 0
