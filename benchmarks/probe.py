"""What a line carries in truth: ``python -m benchmarks.probe send|receive ADDRESS RATE``, datagrams from end to end.

The sender sends `RATE` bits of packets a second for a while, more than the line lets through; the receiver prints how
many bits of packets a second came, from the first to the last.
"""

from __future__ import annotations

import socket
import subprocess
import sys
import time

from benchmarks import ROOT
from benchmarks.emulator import CLIENT
from benchmarks.line import CONTENT, PACKET
from benchmarks.links import Line, Link

_PORT, _SECONDS, _PATIENCE = 5001, 1.5, 2.0
#: Bytes of an IP and a UDP header, and as much above the line's rate as the sender sends.
_HEADERS, _SURPLUS = 28, 1.1


def carried(link: Link, line: Line) -> float:
    """Bytes of content per second that the line `link` can carry, as it stands: of TCP, by its share of a packet."""
    words = [sys.executable, "-m", "benchmarks.probe"]
    ends = [CLIENT, str(line.order.rate * _SURPLUS)]
    receiver = subprocess.Popen(
        [*link.client, *words, "receive", *ends], cwd=ROOT, stdout=subprocess.PIPE, text=True, start_new_session=True
    )
    try:
        assert receiver.stdout is not None
        receiver.stdout.readline()
        subprocess.run([*link.server, *words, "send", *ends], cwd=ROOT, check=True)
        told, _ = receiver.communicate(timeout=30.0)
    finally:
        receiver.kill()
        receiver.wait()
    return float(told) / 8 * CONTENT / PACKET


def _send(address: str, rate: float) -> None:
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as out:
        out.connect((address, _PORT))
        packet = bytes(PACKET - _HEADERS)
        start, sent = time.monotonic(), 0
        while (passed := time.monotonic() - start) < _SECONDS:
            while sent * 8 < passed * rate:
                out.send(packet)
                sent += PACKET
            time.sleep(0.0002)


def _receive(address: str) -> None:
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as into:
        into.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 64 << 20)
        into.bind((address, _PORT))
        into.settimeout(_PATIENCE)
        print("ready", flush=True)
        into.recv(PACKET)
        first = last = time.monotonic()
        count = 0
        try:
            while True:
                count += len(into.recv(PACKET)) + _HEADERS
                last = time.monotonic()
        except TimeoutError:
            print(count * 8 / max(last - first, 1e-9), flush=True)


if __name__ == "__main__":
    if sys.argv[1] == "send":
        _send(sys.argv[2], float(sys.argv[3]))
    else:
        _receive(sys.argv[2])
