"""Sockets to servers: opened directly, or through the configured proxy, and never directly because that failed."""

from __future__ import annotations

import asyncio
import os
import socket
import ssl
from typing import Protocol

from modelferry.errors import ConnectionFailed, ProxyUnreachable
from modelferry.http.address_policy import AddressPolicy
from modelferry.http.proxy.http_connect import ConnectTunnel
from modelferry.http.proxy.proxies import Proxies, Proxy
from modelferry.http.proxy.socks5 import Socks5Tunnel
from modelferry.http.tls.contexts import certificate_error
from modelferry.http.tls.wrap import wrap_tls
from modelferry.http.transport.happy_eyeballs import connect_host
from modelferry.values.urls import server_of

#: Of the seconds for the entire route, the share for the connection to the proxy; the rest is for the proxy's own.
_SHARE = 2 / 3


class Handshake(Protocol):
    """What is exchanged until a tunnel is open (`ConnectTunnel`, `Socks5Tunnel`): pure."""

    done: bool

    def begin(self) -> bytes:
        """What is sent first."""

    def receive(self, data: bytes) -> bytes:
        """Take what was received; returns what is to be sent."""


async def open_socket(
    url: str, proxies: Proxies, seconds: float, address_policy: AddressPolicy, *, receive_buffer: int | None = None
) -> socket.socket:
    """A non-blocking socket for requests of `url` (absolute, ASCII): to its server, directly or through a tunnel; or to
    a proxy that `Proxy.forwards` them.

    `seconds`: what the caller allows for all of it. `receive_buffer` as in `connect_host`. Raises OSError for the
    server, PrivateAddress where `address_policy` does; for the proxy ConnectionFailed, ProxyDenied, ProxyRefused,
    UnknownHost (of the server), CertificateRefused.
    """
    host, port = server_of(url)
    proxy = proxies.for_url(url)
    if proxy is None:
        return await connect_host(host, port, address_policy.filter_addresses, receive_buffer=receive_buffer)
    stream = await _connect_to(proxy, seconds * _SHARE, receive_buffer)
    if not proxy.forwards(url):
        tunnel = ConnectTunnel(proxy, host, port) if proxy.speaks_http else Socks5Tunnel(proxy, host, port)
        try:
            await _open_tunnel(stream, tunnel, proxy)
        except BaseException:
            stream.close()
            raise
    return stream


async def _connect_to(proxy: Proxy, seconds: float, receive_buffer: int | None) -> socket.socket:
    try:
        async with asyncio.timeout(seconds):
            stream = await connect_host(proxy.host, proxy.port, receive_buffer=receive_buffer)
            if proxy.context is not None:
                stream = await wrap_tls(stream, proxy.context, proxy.host)
            return stream
    except TimeoutError as error:
        raise _unreachable(proxy, _reason_of(error) or f"no answer within {seconds:.0f} s") from error
    except ssl.SSLError as error:
        raise certificate_error(f"the proxy {proxy}", error, pins_field=f"{proxy.spec_field}.pins") or _unreachable(
            proxy, f"the TLS handshake failed: {error.reason or error}"
        ) from error
    except OSError as error:
        raise _unreachable(proxy, _reason_of(error)) from error


async def _open_tunnel(stream: socket.socket, handshake: Handshake, proxy: Proxy) -> None:
    loop = asyncio.get_running_loop()
    try:
        await loop.sock_sendall(stream, handshake.begin())
        while not handshake.done:
            data = await loop.sock_recv(stream, 4096)
            if not data:
                raise _unreachable(proxy, "it closed the connection before the tunnel was open")
            await loop.sock_sendall(stream, handshake.receive(data))
    except OSError as error:
        raise _unreachable(proxy, _reason_of(error)) from error


def _reason_of(error: OSError) -> str:
    """The system's own words, without the address that asyncio adds."""
    if isinstance(error, socket.gaierror) or not error.errno:
        return error.strerror or str(error)
    return os.strerror(error.errno)


def _unreachable(proxy: Proxy, why: str) -> ConnectionFailed:
    return ConnectionFailed(f"cannot be reached through the proxy {proxy}: {why}", persistent_error=ProxyUnreachable)
