"""Measures the capacity of a network path with datagrams: ``python -m benchmarks.probe send|receive ADDRESS RATE``.

The sender sends packets at `RATE` bits per second for a while, more than the capacity; the receiver prints the rate at
which they arrived, in bits per second from the first to the last.
"""

from __future__ import annotations

import socket
import subprocess
import sys
import time

from benchmarks import ROOT
from benchmarks.emulator import CLIENT
from benchmarks.link_model import CONTENT, PACKET
from benchmarks.network_path import Endpoints, NetworkPath

_PORT, _SECONDS, _TIMEOUT = 5001, 1.5, 2.0
#: Bytes of an IP and a UDP header, and the ratio of the sender's rate to the path's.
_HEADERS, _OVERLOAD = 28, 1.1


def measured_rate(endpoints: Endpoints, path: NetworkPath) -> float:
    """The measured capacity of `path`, which is up: bytes of TCP content per second."""
    words = [sys.executable, "-m", "benchmarks.probe"]
    ends = [CLIENT, str(path.emulator_config.rate * _OVERLOAD)]
    receiver = subprocess.Popen(
        [*endpoints.client, *words, "receive", *ends],
        cwd=ROOT,
        stdout=subprocess.PIPE,
        text=True,
        start_new_session=True,
    )
    try:
        assert receiver.stdout is not None
        receiver.stdout.readline()
        subprocess.run([*endpoints.server, *words, "send", *ends], cwd=ROOT, check=True)
        output, _ = receiver.communicate(timeout=30.0)
    finally:
        receiver.kill()
        receiver.wait()
    return float(output) / 8 * CONTENT / PACKET


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
        into.settimeout(_TIMEOUT)
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
