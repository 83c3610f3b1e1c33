"""The socket of the status servers and probes."""

from __future__ import annotations

import errno
import socket
from typing import Any

import pytest

from modelferry.http.listening_socket import listening_socket


def answers(listener: socket.socket, host: str) -> bool:
    """Whether a client of `host` is accepted."""
    try:
        with socket.create_connection((host, listener.getsockname()[1]), timeout=5):
            accepted, _ = listener.accept()
            accepted.close()
            return True
    except OSError:
        return False


@pytest.mark.skipif(not socket.has_dualstack_ipv6(), reason="this kernel has no IPv6")
def test_a_server_listens_on_ipv6_and_on_ipv4() -> None:
    """cilium/cilium#13165: a probe's server listened on IPv4 alone, and in an IPv6 cluster its pod was killed."""
    with listening_socket(0) as listener:
        assert answers(listener, "::1")
        assert answers(listener, "127.0.0.1")


def test_a_server_listens_on_ipv4_where_the_kernel_has_no_ipv6(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(socket, "has_dualstack_ipv6", lambda: False)
    with listening_socket(0) as listener:
        assert answers(listener, "127.0.0.1")


@pytest.mark.parametrize("error", [errno.EAFNOSUPPORT, errno.EADDRNOTAVAIL])
def test_a_server_listens_on_ipv4_where_ipv6_has_no_addresses(monkeypatch: pytest.MonkeyPatch, error: int) -> None:
    create = socket.create_server

    def without_ipv6(address: tuple[str, int], *, family: int = socket.AF_INET, **options: Any) -> socket.socket:
        if family == socket.AF_INET6:
            raise OSError(error, "no IPv6")
        return create(address, family=family, **options)

    monkeypatch.setattr(socket, "has_dualstack_ipv6", lambda: True)
    monkeypatch.setattr(socket, "create_server", without_ipv6)
    with listening_socket(0) as listener:
        assert answers(listener, "127.0.0.1")


def test_a_port_in_use_is_an_error() -> None:
    with listening_socket(0) as first, pytest.raises(OSError, match="in use"):
        listening_socket(first.getsockname()[1])
