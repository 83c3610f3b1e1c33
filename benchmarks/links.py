"""Lines that the scenarios download over: loopback, or one of the emulator's."""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import asdict, dataclass

from benchmarks import ROOT
from benchmarks.emulator import SERVER, Order
from benchmarks.line import CONTENT, FRAME, PACKET

#: Seconds that the emulator has to come up, and to end.
_DEADLINE = 15.0


@dataclass(frozen=True, slots=True)
class Line:
    """A line from the origin to the client. ``kind``: ``loopback``, ``emulated`` or ``shaped`` (see `emulator`).

    ``carries``: bytes of content per second that it can carry, 0 where nothing limits it. ``rtt`` in seconds, ``loss``
    as a probability of each packet towards the client, ``queue`` in bytes.
    """

    kind: str = "loopback"
    carries: float = 0.0
    rtt: float = 0.0
    loss: float = 0.0
    queue: int = 0

    @property
    def order(self) -> Order:
        """For the emulator: bits per second with all headers that the line counts."""
        overhead = (PACKET if self.kind == "emulated" else FRAME) / CONTENT
        return Order(self.kind, self.carries * 8 * overhead, self.rtt / 2, self.loss, self.queue)

    def __str__(self) -> str:
        if self.kind == "loopback":
            return "loopback"
        parts = [f"{self.order.rate / 1e6:.0f} Mbit/s ({self.carries / 1e6:.1f} MB/s of content)"]
        parts += [f"{self.rtt * 1e3:.0f} ms RTT"] if self.rtt else []
        parts += [f"{self.loss:.1%} loss"] if self.loss else []
        parts += [f"a queue of {self.queue / 1e6:.1f} MB"] if self.queue else []
        return ", ".join([*parts, f"{self.order.congestion} sender"])


#: No line at all.
LOOPBACK = Line()


def wan(megabits: float, rtt: float, loss: float) -> Line:
    """A line of `megabits` per second of packets, `rtt` seconds, with a queue of one bandwidth-delay product."""
    rate = megabits * 1e6 / 8
    return Line("emulated", rate * CONTENT / PACKET, rtt, loss, int(rate * rtt))


@dataclass(frozen=True, slots=True)
class Link:
    """A line that is up: the words that a command is prefixed with to run on either end, and the server's address."""

    client: tuple[str, ...] = ()
    server: tuple[str, ...] = ()
    host: str = "127.0.0.1"


@contextmanager
def opened(line: Line) -> Iterator[Link]:
    """Have `line` up. It is gone afterwards, even where this process is killed."""
    if line.kind == "loopback":
        yield Link()
        return
    command = [sys.executable, "-m", "benchmarks.emulator", json.dumps(asdict(line.order))]
    # A session of its own: Ctrl-C must not end the line before those who use it.
    process = subprocess.Popen(
        command, cwd=ROOT, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True, start_new_session=True
    )
    try:
        assert process.stdout is not None
        first = process.stdout.readline()
        if not first:
            raise RuntimeError(f"the line is not up; the emulator ended with {process.wait(_DEADLINE)}")
        ends = json.loads(first)
        client, server = (_enter(process.pid, ends[end]) for end in ("client", "server"))
        yield Link(client, server, SERVER)
    finally:
        try:
            process.communicate(timeout=_DEADLINE)
        except subprocess.TimeoutExpired:
            process.kill()
            process.communicate()


def _enter(pid: int, descriptor: int) -> tuple[str, ...]:
    return ("nsenter", f"--net=/proc/{pid}/fd/{descriptor}", "--")
