"""The one way to a server: straight, or through the proxy that is set; never straight because a proxy failed.

Engine and sources both get their connections here.
"""

from __future__ import annotations

import asyncio
import os
import socket
import ssl
from collections.abc import Mapping
from typing import Protocol
from urllib.parse import urlsplit

from modelferry.errors import ConnectionFailed, ProxyUnreachable
from modelferry.http.address_policy import AddressPolicy
from modelferry.http.proxy.http_connect import ConnectTunnel, refusal
from modelferry.http.proxy.selection import Proxies, Proxy
from modelferry.http.proxy.socks5 import Socks5Tunnel
from modelferry.http.tls.contexts import refused
from modelferry.http.tls.wrap import wrap_tls
from modelferry.http.transport.happy_eyeballs import connect_any
from modelferry.values.urls import server_of

#: Of the seconds for the whole way, those for the way to the proxy; the rest is for the proxy's own way.
_SHARE = 2 / 3


class Handshake(Protocol):
    """What is said until a tunnel stands (`ConnectTunnel`, `Socks5Tunnel`): pure."""

    done: bool

    def begin(self) -> bytes:
        """What is sent first."""

    def receive(self, data: bytes) -> bytes:
        """Take what came; returns what is to be sent."""


async def open_socket(
    url: str, proxies: Proxies, limit: float, address_policy: AddressPolicy, *, receive: int | None = None
) -> socket.socket:
    """A non-blocking socket for requests of `url` (absolute, ASCII): to its server, through a tunnel or straight; or to
    a proxy that `Proxy.forwards` them.

    `limit`: seconds that the caller gives the whole. `receive` as in `connect_any`. Raises OSError for the server,
    PrivateAddress where `address_policy` does; for the proxy ConnectionFailed, ProxyDenied, ProxyRefused, UnknownHost
    (of the server), CertificateRefused.
    """
    host, port = server_of(url)
    proxy = proxies.of(url)
    if proxy is None:
        return await connect_any(host, port, address_policy.filter_addresses, receive=receive)
    stream = await _to(proxy, limit * _SHARE, receive)
    if not proxy.forwards(url):
        try:
            await _agree(
                stream,
                ConnectTunnel(proxy, host, port) if proxy.speaks_http else Socks5Tunnel(proxy, host, port),
                proxy,
            )
        except BaseException:
            stream.close()
            raise
    return stream


def check_forwarded(url: str, proxy: Proxy, status: int, fields: Mapping[str, str]) -> None:
    """Raise what the answer to a forwarded request for `url` says, where it is the proxy's own and not the server's.
    `fields`: its fields by lower-case name."""
    if status == 407 or (status >= 400 and fields.get("x-squid-error")):
        raise refusal(proxy, urlsplit(url).netloc, status, fields)


async def _to(proxy: Proxy, limit: float, receive: int | None) -> socket.socket:
    try:
        async with asyncio.timeout(limit):
            stream = await connect_any(proxy.host, proxy.port, receive=receive)
            if proxy.context is not None:
                stream = await wrap_tls(stream, proxy.context, proxy.host)
            return stream
    except TimeoutError as error:
        raise _unreachable(proxy, _words(error) or f"no answer within {limit:.0f} s") from error
    except ssl.SSLError as error:
        raise refused(f"the proxy {proxy}", error, pins=f"{proxy.asked_by}.pins") or _unreachable(
            proxy, f"the TLS handshake failed: {error.reason or error}"
        ) from error
    except OSError as error:
        raise _unreachable(proxy, _words(error)) from error


async def _agree(stream: socket.socket, handshake: Handshake, proxy: Proxy) -> None:
    loop = asyncio.get_running_loop()
    try:
        await loop.sock_sendall(stream, handshake.begin())
        while not handshake.done:
            data = await loop.sock_recv(stream, 4096)
            if not data:
                raise _unreachable(proxy, "it closed the connection before the tunnel stood")
            await loop.sock_sendall(stream, handshake.receive(data))
    except OSError as error:
        raise _unreachable(proxy, _words(error)) from error


def _words(error: OSError) -> str:
    """The system's own, without the address that asyncio adds."""
    if isinstance(error, socket.gaierror) or not error.errno:
        return error.strerror or str(error)
    return os.strerror(error.errno)


def _unreachable(proxy: Proxy, why: str) -> ConnectionFailed:
    return ConnectionFailed(f"cannot be reached by way of the proxy {proxy}: {why}", becomes=ProxyUnreachable)
