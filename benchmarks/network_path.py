"""The network paths that the scenarios download over: loopback, or one that the emulator makes."""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import asdict, dataclass

from benchmarks import ROOT
from benchmarks.emulator import SERVER, EmulatorConfig
from benchmarks.link_model import CONTENT, FRAME, PACKET

#: Seconds in which the emulator must start, and end.
_DEADLINE = 15.0


@dataclass(frozen=True, slots=True)
class NetworkPath:
    """A network path from the origin to the client. ``kind``: ``loopback``, ``emulated`` or ``shaped`` (see
    `emulator`).

    ``capacity``: bytes of content per second, 0 for no limit. ``rtt`` in seconds, ``loss`` as the probability for each
    packet to the client, ``queue`` in bytes.
    """

    kind: str = "loopback"
    capacity: float = 0.0
    rtt: float = 0.0
    loss: float = 0.0
    queue: int = 0

    @property
    def emulator_config(self) -> EmulatorConfig:
        """For the emulator, whose rate is in bits per second and counts the headers."""
        overhead = (PACKET if self.kind == "emulated" else FRAME) / CONTENT
        return EmulatorConfig(self.kind, self.capacity * 8 * overhead, self.rtt / 2, self.loss, self.queue)

    def __str__(self) -> str:
        if self.kind == "loopback":
            return "loopback"
        config = self.emulator_config
        parts = [f"{config.rate / 1e6:.0f} Mbit/s ({self.capacity / 1e6:.1f} MB/s of content)"]
        parts += [f"{self.rtt * 1e3:.0f} ms RTT"] if self.rtt else []
        parts += [f"{self.loss:.1%} loss"] if self.loss else []
        parts += [f"a queue of {self.queue / 1e6:.1f} MB"] if self.queue else []
        return ", ".join([*parts, f"{config.congestion} sender"])


#: No emulation.
LOOPBACK = NetworkPath()


def wan(megabits: float, rtt: float, loss: float) -> NetworkPath:
    """A path of `megabits` per second (packets), `rtt` seconds, and a queue of one bandwidth-delay product."""
    rate = megabits * 1e6 / 8
    return NetworkPath("emulated", rate * CONTENT / PACKET, rtt, loss, int(rate * rtt))


@dataclass(frozen=True, slots=True)
class Endpoints:
    """Both ends of a path that is up: the command prefix to run a program there, and the server's address."""

    client: tuple[str, ...] = ()
    server: tuple[str, ...] = ()
    host: str = "127.0.0.1"


@contextmanager
def established(path: NetworkPath) -> Iterator[Endpoints]:
    """Set up `path`. It is removed afterwards, even if this process is killed."""
    if path.kind == "loopback":
        yield Endpoints()
        return
    command = [sys.executable, "-m", "benchmarks.emulator", json.dumps(asdict(path.emulator_config))]
    # A session of its own: Ctrl-C must not end the emulator before the programs that use it.
    process = subprocess.Popen(
        command, cwd=ROOT, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True, start_new_session=True
    )
    try:
        assert process.stdout is not None
        first = process.stdout.readline()
        if not first:
            code = process.wait(_DEADLINE)
            raise RuntimeError(f"the emulator did not start: exit code {code}")
        namespaces = json.loads(first)
        client, server = (_enter(process.pid, namespaces[end]) for end in ("client", "server"))
        yield Endpoints(client, server, SERVER)
    finally:
        try:
            process.communicate(timeout=_DEADLINE)
        except subprocess.TimeoutExpired:
            process.kill()
            process.communicate()


def _enter(pid: int, descriptor: int) -> tuple[str, ...]:
    return ("nsenter", f"--net=/proc/{pid}/fd/{descriptor}", "--")
