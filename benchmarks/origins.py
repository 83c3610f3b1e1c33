"""Servers that the scenarios download from: nginx, or the hostile one of the tests; both say what they served."""

from __future__ import annotations

import json
import random
import subprocess
import sys
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol

from benchmarks import ROOT
from benchmarks.links import Link
from origin.certs import Leaf
from origin.nginx import Nginx

#: In a namespace that holds nothing else, any port is free.
_PORT = 8443
_DEADLINE = 15.0


@dataclass(frozen=True, slots=True)
class Faults:
    """What a hostile origin does to requests, at random: probabilities of a reset and of a stall within the answer,
    and of a whole file with 200 in answer to a range."""

    reset: float
    stall: float
    ignore_range: float

    def __str__(self) -> str:
        told = {"reset": self.reset, "stalled": self.stall, "given the whole file with 200": self.ignore_range}
        return "of all requests " + ", ".join(f"{share:.0%} are {what}" for what, share in told.items())


@dataclass(frozen=True, slots=True)
class Served:
    """What the origin sent: ``bytes`` of content in ``requests``, the first of which came at ``began`` (seconds since
    1970; None where the log does not tell)."""

    bytes: int = 0
    requests: int = 0
    began: float | None = None


class Origin(Protocol):
    """A server that is up."""

    base: str

    def begin(self, seed: int) -> None:
        """A run begins: what is served counts from here; faults come in the order that `seed` gives."""

    def served(self) -> Served:
        """Since `begin`. To be asked when all connections are closed."""


class _Nginx:
    def __init__(self, server: Nginx) -> None:
        self.base = server.url("")
        self._log = server.log
        self._from = 0

    def begin(self, seed: int) -> None:
        settle(self._log)
        self._from = self._log.stat().st_size if self._log.exists() else 0

    def served(self) -> Served:
        settle(self._log)
        with self._log.open() as log:
            log.seek(self._from)
            return served_in([json.loads(line) for line in log])


class _Hostile:
    def __init__(self, root: Path, leaf: Leaf, link: Link, faults: Faults, scratch: Path) -> None:
        self.base = f"https://{link.host}:{_PORT}/"
        self._rules, self._log = scratch / "rules.json", scratch / "hostile.jsonl"
        self._command = [*link.server, sys.executable, "-m", "origin", "--root", str(root)]
        self._command += ["--listen", f"{link.host}:{_PORT}", "--cert", str(leaf.cert), "--key", str(leaf.key)]
        self._command += ["--rules", str(self._rules), "--log", str(self._log)]
        self._faults = faults
        self._process: subprocess.Popen[bytes] | None = None

    def begin(self, seed: int) -> None:
        self.end()
        self._log.unlink(missing_ok=True)
        self._rules.write_text(json.dumps(rules(self._faults, seed)))
        command = ["setpriv", "--pdeathsig", "KILL", "--", *self._command]
        self._process = subprocess.Popen(
            command, cwd=ROOT / "tests", stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, start_new_session=True
        )
        assert self._process.stdout is not None
        if not self._process.stdout.readline():
            raise RuntimeError(f"the hostile origin ended with {self._process.wait(_DEADLINE)}")

    def served(self) -> Served:
        settle(self._log)
        lines = self._log.read_text().splitlines() if self._log.exists() else []
        entries = [json.loads(line) for line in lines]
        return Served(sum(entry["sent"] for entry in entries), len(entries))

    def end(self) -> None:
        if self._process is not None:
            self._process.terminate()
            self._process.communicate(timeout=_DEADLINE)
            self._process = None


@contextmanager
def nginx(root: Path, leaf: Leaf | None, link: Link, workers: int, rate: int | None, scratch: Path) -> Iterator[Origin]:
    """nginx on the server's end of `link`; `rate` limits each answer, in bytes per second."""
    log = scratch / "access.log"
    port = _PORT if link.server else 0
    # It ends with this process, however that ends.
    prefix = ("setpriv", "--pdeathsig", "TERM", "--", *link.server)
    with Nginx(
        root, leaf=leaf, host=link.host, port=port, rate=rate, workers=workers, prefix=prefix, log=log
    ) as server:
        yield _Nginx(server)


@contextmanager
def hostile(root: Path, leaf: Leaf, link: Link, faults: Faults, scratch: Path) -> Iterator[Origin]:
    """The hostile origin on the server's end of `link`, over TLS."""
    origin = _Hostile(root, leaf, link, faults, scratch)
    try:
        yield origin
    finally:
        origin.end()


def rules(faults: Faults, seed: int, requests: int = 2000) -> list[dict[str, Any]]:
    """Rules (tests/origin/rules.py) for the first `requests` requests: at most one fault each."""
    chance = random.Random(seed)
    made: list[dict[str, Any]] = []
    for number in range(1, requests + 1):
        which, after = chance.random(), chance.randrange(64 * 1024, 8 * 1024 * 1024)
        if which < faults.reset:
            made.append({"first": number, "times": 1, "reset": after})
        elif which < faults.reset + faults.stall:
            made.append({"first": number, "times": 1, "stall": after})
        elif which < faults.reset + faults.stall + faults.ignore_range:
            made.append({"first": number, "times": 1, "ignore_range": True})
    return made


def served_in(entries: Sequence[dict[str, Any]]) -> Served:
    """What lines of nginx's access log come to."""
    if not entries:
        return Served()
    began = min(entry["time"] - entry["seconds"] for entry in entries)
    return Served(sum(entry["sent"] for entry in entries), len(entries), began)


def settle(log: Path) -> None:
    """Wait until nothing more is written to `log`: an answer that breaks off is noted when the server sees it."""
    size, deadline = -1, time.monotonic() + 5.0
    while time.monotonic() < deadline:
        now = log.stat().st_size if log.exists() else 0
        if now == size:
            return
        size = now
        time.sleep(0.3)
