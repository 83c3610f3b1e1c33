"""TLS over memory buffers."""

from __future__ import annotations

import ssl
from contextlib import suppress
from pathlib import Path

import pytest

from modelferry.http.tls.contexts import client_context
from modelferry.http.tls.session import TLSSession
from origin.certs import Authority


class Server:
    """The other side, over memory buffers of its own."""

    def __init__(self, context: ssl.SSLContext) -> None:
        self.incoming, self.outgoing = ssl.MemoryBIO(), ssl.MemoryBIO()
        self.tls = context.wrap_bio(self.incoming, self.outgoing, server_side=True)

    def handshake(self) -> None:
        with suppress(ssl.SSLWantReadError):
            self.tls.do_handshake()


def exchange(session: TLSSession, server: Server) -> bool:
    """Hand what each has to send to the other; whether the client's handshake is complete."""
    for _ in range(4):
        done = session.handshake()
        server.incoming.write(session.outgoing())
        server.handshake()
        session.feed(server.outgoing.read())
        if done:
            return True
    return False


def test_a_handshake_and_bytes_in_both_directions(tmp_path: Path) -> None:
    authority = Authority(tmp_path)
    server = Server(authority.leaf("127.0.0.1").context())
    session = TLSSession(client_context(authority.ca_file), "127.0.0.1")
    assert exchange(session, server)
    session.write(b"GET")
    assert session.has_outgoing
    server.incoming.write(session.outgoing())
    assert not session.has_outgoing
    assert server.tls.read(10) == b"GET"
    server.tls.write(b"200")
    session.feed(server.outgoing.read())
    buffer = bytearray(10)
    assert session.read(10, memoryview(buffer)) == 3
    assert (bytes(buffer[:3]), session.pending()) == (b"200", 0)
    with pytest.raises(ssl.SSLWantReadError):
        session.read(10)


def test_a_refused_certificate_leaves_an_alert_to_send(tmp_path: Path) -> None:
    server = Server(Authority(tmp_path, "other").leaf("127.0.0.1").context())
    session = TLSSession(client_context(Authority(tmp_path).ca_file), "127.0.0.1")
    with pytest.raises(ssl.SSLCertVerificationError):
        exchange(session, server)
    assert session.has_outgoing
