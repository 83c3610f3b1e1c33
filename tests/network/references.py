"""``modelferry pull`` with references, as a user types it: in a directory and a home of its own."""

from __future__ import annotations

import asyncio
import os
import sys
from dataclasses import dataclass
from pathlib import Path

from network.command.harness import Ended, ended
from network.test_hub_pull import MODELFERRY
from origin.certs import Authority


@dataclass(frozen=True)
class Desk:
    """A user's current directory and home. The command trusts the tests' authority, and reaches loopback directly."""

    root: Path
    authority: Authority

    @property
    def home(self) -> Path:
        """The user's home directory."""
        return self.root / "home"

    async def run(self, *words: str, given: str = "", watched: set[str] | None = None, **environment: str) -> Ended:
        """Run ``modelferry`` with `words` and `environment`, and `given` on standard input. `watched` gets the command
        lines of its children."""
        for name in ("work", "tmp", "home"):
            (self.root / name).mkdir(exist_ok=True)
        known = ("HF_", "AWS_", "MODELSCOPE_", "DOCKER_", "XDG_")
        clean = {name: value for name, value in os.environ.items() if not name.startswith(known)}
        trust = {"SSL_CERT_FILE": str(self.authority.ca_file), "no_proxy": "*", "NO_PROXY": "*"}
        place = {"HOME": str(self.home), "TMPDIR": str(self.root / "tmp")}
        process = await asyncio.create_subprocess_exec(
            MODELFERRY, *words, cwd=self.root / "work", env=clean | trust | place | environment,
            stdin=asyncio.subprocess.PIPE, stdout=asyncio.subprocess.PIPE, stderr=asyncio.subprocess.PIPE,
        )  # fmt: skip
        assert process.stdin is not None
        process.stdin.write(given.encode())
        process.stdin.close()
        if watched is None:
            return await ended(process)
        communicated = asyncio.ensure_future(ended(process))
        while not communicated.done():
            watched |= set(child_command_lines(process.pid))
            await asyncio.wait([communicated], timeout=0.02)
        return communicated.result()

    def files(self, directory: str) -> dict[str, bytes]:
        """The published files in a target below the current directory, by path."""
        current = self.root / "work" / directory / "current"
        paths = [path for path in current.rglob("*") if path.is_file() and not path.name.startswith(".modelferry")]
        return {str(path.relative_to(current)): path.read_bytes() for path in paths}


def child_command_lines(parent: int) -> list[str]:
    """The command lines of process `parent` and of its children."""
    found = []
    for entry in Path("/proc").glob("[0-9]*") if sys.platform == "linux" else ():
        try:
            if parent in (int(entry.name), int((entry / "stat").read_text().rpartition(") ")[2].split()[1])):
                found.append((entry / "cmdline").read_bytes().replace(b"\0", b" ").decode())
        except (FileNotFoundError, ProcessLookupError):
            continue
    return found
