"""A TCP connection to a host name: its addresses are tried in a staggered race (Happy Eyeballs, RFC 8305).

aiohappyeyeballs runs the race. asyncio has one too, but where it is cancelled at the wrong moment it leaves a socket
open until the garbage collector finds it (CPython's `staggered_race` drops the winner).
"""

from __future__ import annotations

import asyncio
import socket
from collections.abc import Callable, Iterable, Sequence
from functools import partial

import aiohappyeyeballs
from aiohappyeyeballs import AddrInfoType

#: Bytes of a segment where the receive buffer is small: an Ethernet frame's 1500 without the IP and TCP headers; and
#: where it does not hold several of these, what every host accepts (RFC 9293 section 3.7.1).
_SEGMENT, _SHORT_SEGMENT, _SMALL_BUFFER = 1460, 536, 8192
#: Seconds before the next address is tried beside one that does not answer (RFC 8305 section 8).
STAGGER = 0.25

#: Which of a host's addresses may be connected to, as `AddressPolicy.filter_addresses`.
FilterAddresses = Callable[[str, Iterable[str]], set[str]]


async def connect_host(
    host: str,
    port: int,
    filter_addresses: FilterAddresses = lambda host, addresses: set(addresses),
    *,
    receive_buffer: int | None = None,
) -> socket.socket:
    """The first connection that is established, as a non-blocking socket.

    `filter_addresses` chooses the addresses that may be connected to. `receive_buffer`: bytes for SO_RCVBUF; None: the
    kernel decides. Raises what `filter_addresses` raises, and OSError: gaierror for the name; else the error of the
    address, or all errors in one where several addresses fail in different ways.
    """
    found = await resolve(host, port)
    allowed = filter_addresses(host, [str(address[0]) for *_, address in found])
    return await aiohappyeyeballs.start_connection(
        [one for one in found if one[4][0] in allowed],
        happy_eyeballs_delay=STAGGER,
        socket_factory=partial(_new_socket, receive_buffer=receive_buffer),
    )


async def resolve(host: str, port: int) -> Sequence[AddrInfoType]:
    """The addresses of `host`, in the system's order, as getaddrinfo returns them."""
    return await asyncio.get_running_loop().getaddrinfo(host, port, type=socket.SOCK_STREAM)


def _new_socket(address: AddrInfoType, receive_buffer: int | None) -> socket.socket:
    family, kind, protocol, _, _ = address
    connection = socket.socket(family, kind, protocol)
    try:
        connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        if receive_buffer is not None:
            _limit_receive_buffer(connection, receive_buffer)
    except BaseException:
        connection.close()
        raise
    return connection


def _limit_receive_buffer(connection: socket.socket, size: int) -> None:
    """Have the kernel hold at most about twice `size` bytes. Before the connection is established, because the window
    scale is negotiated then (RFC 7323). Segments no longer than Ethernet's, or shorter, because a window of few
    segments moves in jumps: loopback's segments have 64 KiB."""
    connection.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, size)
    connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_MAXSEG, _SEGMENT if size > _SMALL_BUFFER else _SHORT_SEGMENT)
