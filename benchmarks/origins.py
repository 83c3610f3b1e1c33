"""The servers of the scenarios: nginx, or the misbehaving origin of the tests; both log what they served."""

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
from benchmarks.network_path import Endpoints
from origin.certs import Leaf
from origin.nginx import Nginx

#: Free in a network namespace of its own.
_PORT = 8443
_DEADLINE = 15.0


@dataclass(frozen=True, slots=True)
class ErrorRates:
    """How often the misbehaving origin misbehaves: the probabilities of a reset and of a stall within the response, and
    of a 200 with the complete file in response to a range request."""

    reset: float
    stall: float
    ignore_range: float

    def __str__(self) -> str:
        rates = {
            "reset": self.reset,
            "stalled": self.stall,
            "answered with 200 and the complete file": self.ignore_range,
        }
        return "of all requests " + ", ".join(f"{rate:.0%} are {what}" for what, rate in rates.items())


@dataclass(frozen=True, slots=True)
class Served:
    """What the origin sent: ``bytes`` of content for ``requests``. ``began``: when the first of them arrived, in
    seconds since 1970; None if the log has no times."""

    bytes: int = 0
    requests: int = 0
    began: float | None = None


class Origin(Protocol):
    """A running server."""

    base: str

    def begin(self, seed: int) -> None:
        """Begin a run: reset the counters; `seed` selects the requests that get an error."""

    def served(self) -> Served:
        """What was served since `begin`. Call it when all connections are closed."""


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
    def __init__(self, root: Path, leaf: Leaf, endpoints: Endpoints, errors: ErrorRates, scratch: Path) -> None:
        self.base = f"https://{endpoints.host}:{_PORT}/"
        self._rules, self._log = scratch / "rules.json", scratch / "hostile.jsonl"
        self._command = [*endpoints.server, sys.executable, "-m", "origin", "--root", str(root)]
        self._command += ["--listen", f"{endpoints.host}:{_PORT}", "--cert", str(leaf.cert), "--key", str(leaf.key)]
        self._command += ["--rules", str(self._rules), "--log", str(self._log)]
        self._errors = errors
        self._process: subprocess.Popen[bytes] | None = None

    def begin(self, seed: int) -> None:
        self.end()
        self._log.unlink(missing_ok=True)
        self._rules.write_text(json.dumps(rules(self._errors, seed)))
        command = ["setpriv", "--pdeathsig", "KILL", "--", *self._command]
        self._process = subprocess.Popen(
            command, cwd=ROOT / "tests", stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, start_new_session=True
        )
        assert self._process.stdout is not None
        if not self._process.stdout.readline():
            raise RuntimeError(f"the misbehaving origin did not start: exit code {self._process.wait(_DEADLINE)}")

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
def nginx(
    root: Path, leaf: Leaf | None, endpoints: Endpoints, workers: int, rate: int | None, scratch: Path
) -> Iterator[Origin]:
    """Run nginx at the server's end; `rate` limits each response, in bytes per second."""
    log = scratch / "access.log"
    port = _PORT if endpoints.server else 0
    # It ends with this process, also if that is killed.
    prefix = ("setpriv", "--pdeathsig", "TERM", "--", *endpoints.server)
    with Nginx(
        root, leaf=leaf, host=endpoints.host, port=port, rate=rate, workers=workers, prefix=prefix, log=log
    ) as server:
        yield _Nginx(server)


@contextmanager
def hostile(root: Path, leaf: Leaf, endpoints: Endpoints, errors: ErrorRates, scratch: Path) -> Iterator[Origin]:
    """Run the misbehaving origin at the server's end, with TLS."""
    origin = _Hostile(root, leaf, endpoints, errors, scratch)
    try:
        yield origin
    finally:
        origin.end()


def rules(rates: ErrorRates, seed: int, requests: int = 2000) -> list[dict[str, Any]]:
    """Rules (tests/origin/rules.py) for the first `requests` requests: at most one error for each."""
    draw = random.Random(seed)
    made: list[dict[str, Any]] = []
    for number in range(1, requests + 1):
        which, after = draw.random(), draw.randrange(64 * 1024, 8 * 1024 * 1024)
        if which < rates.reset:
            made.append({"first": number, "times": 1, "reset": after})
        elif which < rates.reset + rates.stall:
            made.append({"first": number, "times": 1, "stall": after})
        elif which < rates.reset + rates.stall + rates.ignore_range:
            made.append({"first": number, "times": 1, "ignore_range": True})
    return made


def served_in(entries: Sequence[dict[str, Any]]) -> Served:
    """The sum over lines of nginx's access log."""
    if not entries:
        return Served()
    began = min(entry["time"] - entry["seconds"] for entry in entries)
    return Served(sum(entry["sent"] for entry in entries), len(entries), began)


def settle(log: Path) -> None:
    """Wait until `log` stops growing: an aborted response is logged only when the server notices it."""
    size, deadline = -1, time.monotonic() + 5.0
    while time.monotonic() < deadline:
        now = log.stat().st_size if log.exists() else 0
        if now == size:
            return
        size = now
        time.sleep(0.3)
