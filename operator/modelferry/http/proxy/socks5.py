"""A tunnel through a SOCKS5 proxy (RFC 1928, with RFC 1929's user name and password), without I/O.

Host names are sent as names: the proxy resolves them.
"""

from __future__ import annotations

import ipaddress
import struct
from collections.abc import Callable

from modelferry.errors import ConnectionFailed, ModelferryError, ProxyDenied, ProxyRefused
from modelferry.http.proxy.proxies import Proxy
from modelferry.values.proxy_urls import is_address
from modelferry.values.urls import host_port

_VERSION, _AUTH_VERSION = 5, 1
_NO_AUTH, _USERNAME, _NONE_ACCEPTABLE = 0, 2, 0xFF
_CONNECT = 1
_IPV4, _NAME, _IPV6 = 1, 3, 4

#: RFC 1928 section 6: what a reply means, and whether another attempt may get another one.
_REPLIES = {
    1: ("general failure", True),
    2: ("not allowed by its rules", False),
    3: ("network unreachable", True),
    4: ("host unreachable", True),
    5: ("connection refused", True),
    6: ("TTL expired", True),
    7: ("command not supported", False),
    8: ("address type not supported", False),
}

#: Reads one message from what was received; returns its length and what to send. A length of 0: it is incomplete.
_Step = Callable[[bytes], tuple[int, bytes]]


class Socks5Tunnel:
    """Asks `proxy` for a tunnel to `host` at `port`."""

    def __init__(self, proxy: Proxy, host: str, port: int) -> None:
        self.done = False
        self._proxy, self._host, self._port = proxy, host, port
        self._received = b""
        self._step: _Step = self._method

    def begin(self) -> bytes:
        """What is sent first: the supported authentication methods."""
        methods = bytes([_NO_AUTH, _USERNAME] if self._proxy.username else [_NO_AUTH])
        return bytes([_VERSION, len(methods)]) + methods

    def receive(self, data: bytes) -> bytes:
        """Take what was received; returns what is to be sent. `done` when the tunnel is open.

        Raises ProxyDenied and ProxyRefused; ConnectionFailed where the proxy cannot reach the host at the moment.
        """
        self._received += data
        sent = b""
        while self._received and not self.done:
            length, reply = self._step(self._received)
            if length == 0:
                break
            self._received = self._received[length:]
            sent += reply
        if self.done and self._received:
            raise self._invalid("sent bytes before any request")
        return sent

    def _method(self, received: bytes) -> tuple[int, bytes]:
        if received[0] != _VERSION:
            raise self._invalid("does not speak SOCKS5")
        if len(received) < 2:
            return 0, b""
        match received[1]:
            case method if method == _NO_AUTH:
                self._step = self._reply
                return 2, self._request()
            case method if method == _USERNAME and self._proxy.username:
                self._step = self._authenticated
                user, password = self._proxy.username.encode(), self._proxy.password.encode()
                return 2, bytes([_AUTH_VERSION, len(user)]) + user + bytes([len(password)]) + password
            case method if method == _NONE_ACCEPTABLE and self._proxy.username:
                raise ProxyDenied(
                    f"the proxy {self._proxy} does not accept a user name and password (it requires another method);"
                    " enable them in the proxy, or give none"
                )
            case method if method == _NONE_ACCEPTABLE:
                raise ProxyDenied(
                    f"the proxy {self._proxy} requires a user name and password; give them by a Secret that"
                    f" {self._proxy.spec_field}.auth names"
                )
        raise self._invalid("chose a method that was not offered")

    def _authenticated(self, received: bytes) -> tuple[int, bytes]:
        if len(received) < 2:
            return 0, b""
        if received[1] != 0:
            raise ProxyDenied(f"the proxy {self._proxy} does not accept the user name or password; correct the Secret")
        self._step = self._reply
        return 2, self._request()

    def _request(self) -> bytes:
        if is_address(self._host):
            address = ipaddress.ip_address(self._host)
            target = bytes([_IPV4 if address.version == 4 else _IPV6]) + address.packed
        else:
            name = self._host.encode("ascii")
            target = bytes([_NAME, len(name)]) + name
        return bytes([_VERSION, _CONNECT, 0]) + target + struct.pack(">H", self._port)

    def _reply(self, received: bytes) -> tuple[int, bytes]:
        if received[0] != _VERSION:
            raise self._invalid("does not speak SOCKS5")
        if len(received) < 2:
            return 0, b""
        if received[1] != 0:
            raise self._error_of(received[1])  # the address after it means nothing then
        if len(received) < 5:
            return 0, b""
        match received[3]:
            case kind if kind == _IPV4:
                length = 4 + 4 + 2
            case kind if kind == _IPV6:
                length = 4 + 16 + 2
            case kind if kind == _NAME:
                length = 4 + 1 + received[4] + 2
            case _:
                raise self._invalid("answers with an address of an unknown type")
        if len(received) < length:
            return 0, b""
        self.done = True
        return length, b""

    def _error_of(self, code: int) -> ModelferryError:
        words, transient = _REPLIES.get(code, ("unknown reply", False))
        target = host_port(self._host, self._port)
        if transient:
            message = f"the proxy {self._proxy} cannot reach {target} (SOCKS reply {code}, {words})"
            return ConnectionFailed(message, persistent_error=ProxyRefused)
        return ProxyRefused(
            f"the proxy {self._proxy} denied access to {target} (SOCKS reply {code}, {words}); allow it in the proxy's"
            " rules, or use another proxy"
        )

    def _invalid(self, what: str) -> ProxyRefused:
        return ProxyRefused(f"the proxy {self._proxy} {what}; check the proxy's scheme and port")
