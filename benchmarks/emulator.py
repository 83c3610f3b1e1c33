"""``python -m benchmarks.emulator JSON``: two network namespaces and the line between them, for as long as it runs.

The namespaces have no name: the kernel removes them, with all that is in them, when this process and those inside have
ended, however they end. It prints one line of JSON when the line is up: the namespaces' file descriptors, by which
others enter them (``nsenter --net=/proc/PID/fd/N``). It ends when its standard input ends, so with its parent at the
latest.

``kind`` is ``emulated``: two TUN devices joined by `line.Direction`, with a rate, a delay and losses, for kernels
without netem; it carries some hundred Mbit/s. Or ``shaped``: a veth pair and the kernel's own token bucket, for faster
lines without a delay.
"""

from __future__ import annotations

import ctypes
import fcntl
import json
import os
import random
import select
import struct
import subprocess
import sys
import time
from contextlib import suppress
from dataclasses import dataclass

from benchmarks.line import Direction

CLIENT, SERVER = "10.9.0.1", "10.9.0.2"

_CLONE_NEWNET = 0x40000000
_TUNSETIFF = 0x400454CA
_IFF_TUN_NO_PI = 0x1001
_DEVICE = "wan0"
_MOST_AT_ONCE = 64
#: Seconds at the line's rate that may pass at once: a timer that is late by less does not slow a fast line.
_BURST = 0.001
_LARGEST = 2048

_libc = ctypes.CDLL(None, use_errno=True)


@dataclass(frozen=True, slots=True)
class Order:
    """What line to make. ``rate`` in bits per second of packets from the server to the client (0: no limit),
    ``delay`` in seconds one way, ``loss`` as a probability, ``queue`` in bytes before the line."""

    kind: str
    rate: float
    delay: float = 0.0
    loss: float = 0.0
    queue: int = 0
    seed: int = 1
    congestion: str = "cubic"


def main() -> None:
    """Make the line, and run until standard input ends."""
    order = Order(**json.loads(sys.argv[1]))
    home = os.open("/proc/self/ns/net", os.O_RDONLY)
    far, near = _namespace(), _namespace()
    if order.kind == "emulated":
        tuns = {fd: _tun(fd, address) for fd, address in ((near, CLIENT), (far, SERVER))}
    else:
        _veth(near, far, order)
    _enter(far)
    _ip(f"route replace 10.9.0.0/24 dev {_DEVICE} congctl {order.congestion}")
    _enter(home)
    print(json.dumps({"client": near, "server": far}), flush=True)
    if order.kind == "emulated":
        os.nice(-10)  # a late emulator would be a worse line
        _carry(tuns[near], tuns[far], order)
    else:
        while os.read(0, 1):
            pass


def _carry(near: int, far: int, order: Order) -> None:
    """Carry packets until standard input ends."""
    chance = random.Random(order.seed).random
    down = Direction(rate=order.rate / 8, delay=order.delay, loss=order.loss, limit=order.queue, chance=chance)
    up = Direction(rate=0.0, delay=order.delay, loss=0.0, limit=0, chance=chance)
    routes = ((far, down, near), (near, up, far))
    poll = select.epoll()
    for fd in (near, far, 0):
        poll.register(fd, select.EPOLLIN)
    while True:
        now = time.monotonic()
        dues = [due for due in (down.next_due, up.next_due) if due is not None]
        events = poll.poll(max(0.0, min([*dues, now + 1.0]) - now))
        if any(fd == 0 for fd, _ in events):
            return
        for source, direction, sink in routes:
            _receive(source, direction)
            for packet in direction.due(time.monotonic()):
                _send(sink, packet)


def _receive(source: int, direction: Direction) -> None:
    for _ in range(_MOST_AT_ONCE):
        try:
            packet = os.read(source, _LARGEST)
        except BlockingIOError:
            return
        direction.offer(packet, time.monotonic())


def _send(sink: int, packet: bytes) -> None:
    with suppress(OSError):  # a device that is full or gone loses packets, as lines do
        os.write(sink, packet)


def _namespace() -> int:
    """Enter a new network namespace; returns its descriptor."""
    _check(_libc.unshare(_CLONE_NEWNET), "a network namespace")
    _ip("link set lo up")
    return os.open("/proc/self/ns/net", os.O_RDONLY)


def _enter(namespace: int) -> None:
    _check(_libc.setns(namespace, _CLONE_NEWNET), "enter a network namespace")


def _tun(namespace: int, address: str) -> int:
    """A TUN device with `address` in `namespace`; returns its descriptor."""
    _enter(namespace)
    tun = os.open("/dev/net/tun", os.O_RDWR | os.O_NONBLOCK)
    fcntl.ioctl(tun, _TUNSETIFF, struct.pack("16sH22x", _DEVICE.encode(), _IFF_TUN_NO_PI))
    _ip(f"addr add {address}/24 dev {_DEVICE}")
    _ip(f"link set {_DEVICE} mtu 1500 txqueuelen 10000 up")
    return tun


def _veth(near: int, far: int, order: Order) -> None:
    _enter(far)
    _ip(f"link add {_DEVICE} type veth peer name {_DEVICE} netns /proc/{os.getpid()}/fd/{near}")
    for namespace, address in ((near, CLIENT), (far, SERVER)):
        _enter(namespace)
        _ip(f"addr add {address}/24 dev {_DEVICE}")
        _ip(f"link set {_DEVICE} up")
    _enter(far)
    if order.rate:
        burst = max(64 * 1024, int(order.rate / 8 * _BURST))
        rate = f"rate {order.rate:.0f}bit burst {burst} limit {order.queue}"
        subprocess.run(f"tc qdisc add dev {_DEVICE} root tbf {rate}".split(), check=True)


def _ip(words: str) -> None:
    subprocess.run(["ip", *words.split()], check=True)


def _check(result: int, what: str) -> None:
    if result:
        code = ctypes.get_errno()
        raise OSError(code, f"{what}: {os.strerror(code)}")


if __name__ == "__main__":
    main()
