"""``python -m benchmarks.emulator JSON``: two network namespaces and an emulated network path between them.

The path exists as long as this process runs. The namespaces have no name, so that the kernel removes them and their
devices when this process and the processes in them have ended, also after a crash. When the path is up, it prints one
line of JSON: the namespaces' file descriptors, through which other processes enter them
(``nsenter --net=/proc/PID/fd/N``). It ends at the end of its standard input, so at the latest with its parent.

``kind`` is ``emulated``: two TUN devices joined by `link_model.SimplexLink`, with a rate, a delay and losses, for
kernels without netem; it forwards some hundred Mbit/s. Or ``shaped``: a veth pair and the kernel's token bucket filter,
for faster paths without a delay.
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

from benchmarks.link_model import SimplexLink

CLIENT, SERVER = "10.9.0.1", "10.9.0.2"

_CLONE_NEWNET = 0x40000000
_TUNSETIFF = 0x400454CA
_IFF_TUN_NO_PI = 0x1001
_DEVICE = "wan0"
_MAX_BATCH = 64
#: The token bucket's burst, in seconds at its rate: a timer that is late by less than this does not reduce the rate.
_BURST_SECONDS = 0.001
_MAX_PACKET = 2048

_libc = ctypes.CDLL(None, use_errno=True)


@dataclass(frozen=True, slots=True)
class EmulatorConfig:
    """The path to emulate. ``rate`` in bits per second of packets from the server to the client (0: no limit),
    ``delay`` in seconds one way, ``loss`` as a probability, ``queue`` in bytes."""

    kind: str
    rate: float
    delay: float = 0.0
    loss: float = 0.0
    queue: int = 0
    seed: int = 1
    congestion: str = "cubic"


def main() -> None:
    """Set up the path, and run until standard input ends."""
    config = EmulatorConfig(**json.loads(sys.argv[1]))
    home = os.open("/proc/self/ns/net", os.O_RDONLY)
    server, client = _namespace(), _namespace()
    if config.kind == "emulated":
        tuns = {fd: _tun(fd, address) for fd, address in ((client, CLIENT), (server, SERVER))}
    else:
        _veth(client, server, config)
    _enter(server)
    _ip(f"route replace 10.9.0.0/24 dev {_DEVICE} congctl {config.congestion}")
    _enter(home)
    print(json.dumps({"client": client, "server": server}), flush=True)
    if config.kind == "emulated":
        os.nice(-10)  # a delayed emulator would emulate a slower path
        _forward(tuns[client], tuns[server], config)
    else:
        while os.read(0, 1):
            pass


def _forward(client: int, server: int, config: EmulatorConfig) -> None:
    """Forward packets until standard input ends."""
    draw = random.Random(config.seed).random
    down = SimplexLink(rate=config.rate / 8, delay=config.delay, loss=config.loss, limit=config.queue, random=draw)
    up = SimplexLink(rate=0.0, delay=config.delay, loss=0.0, limit=0, random=draw)
    links = ((server, down, client), (client, up, server))
    poll = select.epoll()
    for fd in (client, server, 0):
        poll.register(fd, select.EPOLLIN)
    while True:
        now = time.monotonic()
        deliveries = [at for at in (down.next_delivery, up.next_delivery) if at is not None]
        events = poll.poll(max(0.0, min([*deliveries, now + 1.0]) - now))
        if any(fd == 0 for fd, _ in events):
            return
        for source, link, sink in links:
            _receive(source, link)
            for packet in link.delivered(time.monotonic()):
                _send(sink, packet)


def _receive(source: int, link: SimplexLink) -> None:
    for _ in range(_MAX_BATCH):
        try:
            packet = os.read(source, _MAX_PACKET)
        except BlockingIOError:
            return
        link.send(packet, time.monotonic())


def _send(sink: int, packet: bytes) -> None:
    with suppress(OSError):  # a device that is full or gone drops packets, as routers do
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


def _veth(client: int, server: int, config: EmulatorConfig) -> None:
    _enter(server)
    _ip(f"link add {_DEVICE} type veth peer name {_DEVICE} netns /proc/{os.getpid()}/fd/{client}")
    for namespace, address in ((client, CLIENT), (server, SERVER)):
        _enter(namespace)
        _ip(f"addr add {address}/24 dev {_DEVICE}")
        _ip(f"link set {_DEVICE} up")
    _enter(server)
    if config.rate:
        burst = max(64 * 1024, int(config.rate / 8 * _BURST_SECONDS))
        rate = f"rate {config.rate:.0f}bit burst {burst} limit {config.queue}"
        subprocess.run(f"tc qdisc add dev {_DEVICE} root tbf {rate}".split(), check=True)


def _ip(words: str) -> None:
    subprocess.run(["ip", *words.split()], check=True)


def _check(result: int, what: str) -> None:
    if result:
        code = ctypes.get_errno()
        raise OSError(code, f"{what}: {os.strerror(code)}")


if __name__ == "__main__":
    main()
