"""Origins that pods can reach, and their files in an artifact."""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Protocol

from cluster import cache
from cluster.shell import wait_until
from origin.certs import Leaf
from origin.model import ModelFile, make_model
from origin.server import LogEntry

MIB = 1 << 20


class Origin(Protocol):
    """Anything that serves files."""

    def url(self, path: str) -> str:
        """The URL of `path`."""
        ...


def model(size: int, seed: int = 1) -> tuple[Path, list[ModelFile]]:
    """A model of at least `size` bytes, generated once into the cache."""
    root = cache.root() / "models" / f"{size}-{seed}"
    return root, make_model(root, size=size, seed=seed)


def files(origin: Origin, wanted: Iterable[ModelFile], *, digest: str = "sha256") -> list[dict[str, Any]]:
    """`source.http.files` for a model on an origin."""
    return [
        {"path": file.path, "url": origin.url(file.path), digest: getattr(file, digest), "size": file.size}
        for file in wanted
    ]


class Hostile:
    """The misbehaving origin as a process, which serves while the test waits."""

    def __init__(self, base: str, log: Path) -> None:
        self._base, self._log = base, log

    def url(self, path: str) -> str:
        """The URL of `path`."""
        return f"{self._base}{path}"

    def requests(self, path: str) -> list[LogEntry]:
        """The log entries of one path."""
        lines = self._log.read_text().splitlines() if self._log.exists() else []
        entries = [LogEntry(**json.loads(line)) for line in lines]
        return [entry for entry in entries if entry.path == f"/{path}"]


@contextmanager
def hostile(
    root: Path, scratch: Path, *, host: str, leaf: Leaf, rules: list[dict[str, Any]], digest: bool = False
) -> Iterator[Hostile]:
    """Serve `root` on `host` with TLS and `rules` (origin/rules.py)."""
    script, log = scratch / "rules.json", scratch / "requests.jsonl"
    script.write_text(json.dumps(rules))
    command: list[str | Path] = [
        sys.executable,
        "-m",
        "origin",
        "--root",
        root,
        "--listen",
        f"{host}:0",
        "--cert",
        leaf.cert,
    ]
    command += ["--key", leaf.key, "--rules", script, "--log", log, *(["--digest"] if digest else [])]
    tests = Path(__file__).parents[1]
    with subprocess.Popen(command, env={"PYTHONPATH": str(tests)}, stdout=subprocess.PIPE, text=True) as process:
        try:
            assert process.stdout is not None
            yield Hostile(process.stdout.readline().strip(), log)
        finally:
            process.terminate()
            wait_until("the end of the origin", lambda: process.poll() is not None, 10)
