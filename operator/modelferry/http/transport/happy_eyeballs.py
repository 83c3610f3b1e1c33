"""A TCP connection to a name: resolved once, its addresses tried in a staggered race (Happy Eyeballs, RFC 8305).

asyncio has this too, but one that is called off at the wrong moment leaves its socket open until the garbage collector
comes by (CPython's `staggered_race` drops the winner).
"""

from __future__ import annotations

import asyncio
import socket
from collections.abc import Callable, Iterable, Sequence
from itertools import zip_longest

#: Bytes of a segment where the receive buffer is small: an Ethernet frame's 1500 without the IP and TCP headers; and
#: where it has no room for several of these, what every host takes (RFC 9293 section 3.7.1).
_SEGMENT, _SHORT, _FEW = 1460, 536, 8192
#: Seconds before the next address is tried beside the one that does not answer (RFC 8305 section 8).
STAGGER = 0.25

#: An address as `socket` takes it, with its family.
Address = tuple[int, tuple[object, ...]]

#: Which of a host's addresses may be dialled, as `AddressPolicy.admit`.
FilterAddresses = Callable[[str, Iterable[str]], set[str]]


async def connect_any(
    host: str,
    port: int,
    filter_addresses: FilterAddresses = lambda host, addresses: set(addresses),
    *,
    receive: int | None = None,
) -> socket.socket:
    """The first connection that is made, non-blocking. Raises OSError (gaierror for the name), that of the first
    address, and what `filter_addresses` raises, which picks the addresses that may be dialled. `receive`:
    bytes that the kernel may hold unread (SO_RCVBUF); it decides by itself where there is none."""
    found = await resolve(host, port)
    admitted = filter_addresses(host, [str(where[0]) for _, where in found])
    addresses = interleaved([address for address in found if address[1][0] in admitted])
    tries: list[asyncio.Task[socket.socket]] = []
    winner: asyncio.Task[socket.socket] | None = None
    try:
        running: set[asyncio.Task[socket.socket]] = set()
        for address in addresses:
            tries.append(asyncio.create_task(_connect(address, receive)))
            running.add(tries[-1])
            last = len(tries) == len(addresses)
            while running and winner is None:
                done, running = await asyncio.wait(
                    running, timeout=None if last else STAGGER, return_when=asyncio.FIRST_COMPLETED
                )
                winner = next((task for task in done if task.exception() is None), None)
                if not last:
                    break
            if winner is not None:
                return winner.result()
        raise next(error for task in tries if (error := task.exception()) is not None)
    finally:
        for task in tries:
            if task is not winner:
                task.add_done_callback(_discard)
                task.cancel()


async def resolve(host: str, port: int) -> list[Address]:
    """The addresses of `host`, as the system orders them."""
    found = await asyncio.get_running_loop().getaddrinfo(host, port, type=socket.SOCK_STREAM)
    return [(family, address) for family, _, _, _, address in found]


def interleaved(addresses: Sequence[Address]) -> list[Address]:
    """The families in turn, beginning with the first one's (RFC 8305 section 4): a dead family costs one stagger."""
    if not addresses:
        return []
    first = [address for address in addresses if address[0] == addresses[0][0]]
    others = [address for address in addresses if address[0] != addresses[0][0]]
    return [address for pair in zip_longest(first, others) for address in pair if address is not None]


async def _connect(address: Address, receive: int | None) -> socket.socket:
    family, where = address
    connection = socket.socket(family, socket.SOCK_STREAM)
    try:
        connection.setblocking(False)
        connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        if receive is not None:
            _narrow(connection, receive)
        await asyncio.get_running_loop().sock_connect(connection, where)
    except BaseException:
        connection.close()
        raise
    return connection


def _narrow(connection: socket.socket, receive: int) -> None:
    """Have the kernel hold at most about twice `receive` bytes, from before it connects, when the window's scale is
    agreed on (RFC 7323). Segments no longer than Ethernet's, or shorter, since a window of few segments moves in jumps:
    loopback's have 64 KiB."""
    connection.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, receive)
    connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_MAXSEG, _SEGMENT if receive > _FEW else _SHORT)


def _discard(task: asyncio.Task[socket.socket]) -> None:
    """A try that was not needed: its socket is closed, its error is nobody's."""
    if not task.cancelled() and task.exception() is None:
        task.result().close()
