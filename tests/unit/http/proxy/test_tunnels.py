"""What is said to a proxy until a tunnel stands, byte by byte."""

from __future__ import annotations

from dataclasses import replace
from random import Random

import pytest

from modelferry import __version__
from modelferry.errors import ConnectionFailed, ModelferryError, ProxyDenied, ProxyRefused, UnknownHost
from modelferry.http.proxy.forwarding import check_forwarded
from modelferry.http.proxy.http_connect import MAX_HEAD, ConnectTunnel
from modelferry.http.proxy.proxies import Proxies, Proxy
from modelferry.http.proxy.socks5 import Socks5Tunnel
from modelferry.http.transport.sockets import Handshake
from modelferry.http.wire import Head, Request

HTTP = Proxy.parse("http://p:3128")
SOCKS = Proxy.parse("socks5h://p:1080")


def known(proxy: Proxy) -> Proxy:
    return replace(proxy, username="me", password="secret")


def test_connect_shows_the_proxys_credentials_and_nothing_else() -> None:
    assert ConnectTunnel(known(HTTP), "h.test", 443).begin() == (
        b"CONNECT h.test:443 HTTP/1.1\r\nHost: h.test:443\r\nUser-Agent: modelferry/%b\r\n"
        b"Proxy-Authorization: Basic bWU6c2VjcmV0\r\n\r\n" % __version__.encode()
    )
    assert b"Proxy-Authorization" not in ConnectTunnel(HTTP, "h.test", 443).begin()
    assert ConnectTunnel(HTTP, "::1", 443).begin().startswith(b"CONNECT [::1]:443 HTTP/1.1\r\nHost: [::1]:443\r\n")


@pytest.mark.parametrize(
    "answer",
    [
        b"HTTP/1.1 200 Connection established\r\n\r\n",
        b"HTTP/1.0 200\r\nVia: x\r\n\r\n",
        b"HTTP/1.1 103 Early Hints\r\nLink: x\r\n\r\nHTTP/1.1 204 \r\nContent-Length: 3\r\n\r\n",
    ],
)
def test_a_tunnel_stands_however_its_answer_is_cut(answer: bytes) -> None:
    for cut in range(len(answer)):
        tunnel = ConnectTunnel(HTTP, "h.test", 443)
        assert tunnel.receive(answer[:cut]) == b""
        assert not tunnel.done
        assert tunnel.receive(answer[cut:]) == b""
        assert tunnel.done


@pytest.mark.parametrize(
    ("answer", "kind", "says"),
    [
        (b"407 No\r\nProxy-Authenticate: Basic realm=x", ProxyDenied, "does not accept the user name or password"),
        (b"407 No\r\nProxy-Authenticate: Negotiate, NTLM", ProxyDenied, "accepts only NTLM, Negotiate"),
        (b'407 No\r\nProxy-Authenticate: NTLM, Basic realm="a, b"', ProxyDenied, "correct the Secret"),
        (b"403 No\r\nX-Squid-Error: ERR_ACCESS_DENIED 0", ProxyRefused, r"h\.test:443 \(403 Forbidden, ERR_ACC"),
        (b"405 No", ProxyRefused, "denied access to"),
        (b"302 Found\r\nLocation: http://login/", ProxyRefused, "302 Found"),
        (b"503 No\r\nX-Squid-Error: ERR_DNS_FAIL 0", UnknownHost, r"cannot resolve h\.test:443"),
        (b"503 No\r\nX-Squid-Error: <b>\x01", ConnectionFailed, r"\(503 Service Unavailable\)$"),
        (b"502 No", ConnectionFailed, r"cannot reach h\.test:443 \(502 Bad Gateway\)"),
        (b"599 No", ConnectionFailed, r"\(599\)"),
        (b"429 No", ConnectionFailed, "429"),
        (b"101 No", ProxyRefused, "101"),
        (b"abc No", ProxyRefused, "no HTTP response"),
        (b"200 OK\r\n\r\nX", ProxyRefused, "bytes before any request"),
        (b"200 OK\r\nA: " + b"a" * MAX_HEAD, ProxyRefused, "bytes of header"),
    ],
)
def test_an_answer_that_makes_no_tunnel(answer: bytes, kind: type[ModelferryError], says: str) -> None:
    tunnel = ConnectTunnel(known(HTTP), "h.test", 443)
    with pytest.raises(kind, match=says) as caught:
        tunnel.receive(b"HTTP/1.1 " + answer + b"\r\n\r\n")
    assert "the proxy http://p:3128" in caught.value.message
    assert "secret" not in caught.value.message
    assert not tunnel.done


@pytest.mark.parametrize("forwarded", [True, False])
@pytest.mark.parametrize(
    ("schemes", "says"),
    [
        (("NTLM", "Negotiate", 'Basic realm="a"'), "does not accept the user name or password"),
        (('Basic realm="a"', "NTLM", "Negotiate"), "does not accept the user name or password"),
        (("NTLM", "Negotiate"), r"accepts only NTLM, Negotiate \(407\); enable Basic"),
    ],
)
def test_proxy_authenticate_fields_on_lines_of_their_own_are_all_read(
    schemes: tuple[str, ...], says: str, *, forwarded: bool
) -> None:
    """kost/revsocks#14: a proxy offers each scheme in a field of its own, and Basic is not the last of them."""
    proxy = known(HTTP)
    proxy = known(HTTP)
    request = Request("http://h.test/a", absolute=True)
    fields = tuple(("proxy-authenticate", scheme) for scheme in schemes)
    lines = "".join(f"{name}: {scheme}\r\n" for name, scheme in fields)

    def answer() -> None:
        if forwarded:
            check_forwarded(request, Proxies(proxy, proxy), Head(407, (1, 1), fields))
        ConnectTunnel(proxy, "h.test", 443).receive(f"HTTP/1.1 407 No\r\n{lines}\r\n".encode())

    with pytest.raises(ProxyDenied, match=says):
        answer()


def test_the_lasting_failure_of_the_proxys_own_way_is_its_refusal() -> None:
    for tunnel, answer in ((ConnectTunnel(HTTP, "h", 1), b"HTTP/1.1 502 \r\n\r\n"), (asked(SOCKS), b"\x05\x05")):
        with pytest.raises(ConnectionFailed) as caught:
            tunnel.receive(answer)
        assert caught.value.persistent_error is ProxyRefused


def asked(proxy: Proxy, host: str = "h.test") -> Socks5Tunnel:
    """As far as the request."""
    tunnel = Socks5Tunnel(proxy, host, 443)
    tunnel.receive(b"\x05\x00")
    return tunnel


@pytest.mark.parametrize(
    ("host", "address"),
    [("h.test", b"\x03\x06h.test"), ("10.0.0.1", b"\x01\x0a\0\0\x01"), ("::1", b"\x04" + b"\0" * 15 + b"\x01")],
)
def test_a_name_is_sent_as_a_name(host: str, address: bytes) -> None:
    tunnel = Socks5Tunnel(SOCKS, host, 443)
    assert tunnel.begin() == b"\x05\x01\x00"
    assert tunnel.receive(b"\x05\x00") == b"\x05\x01\x00" + address + b"\x01\xbb"


SPOKEN = b"\x05\x02" + b"\x01\x00"


@pytest.mark.parametrize(
    "reply",
    [
        b"\x05\0\0\x01\0\0\0\0\0\0",
        b"\x05\0\0\x04" + b"\0" * 18,
        b"\x05\0\0\x03\x00\0\0",
        b"\x05\0\0\x03\x05proxy\0\0",
    ],
)
def test_a_socks_tunnel_stands_however_its_answers_are_cut(reply: bytes) -> None:
    whole = SPOKEN + reply
    for cut in range(len(whole)):
        tunnel = Socks5Tunnel(known(SOCKS), "h.test", 443)
        assert tunnel.begin() == b"\x05\x02\x00\x02"
        sent = tunnel.receive(whole[:cut])
        assert not tunnel.done
        sent += tunnel.receive(whole[cut:])
        assert tunnel.done
        assert sent == b"\x01\x02me\x06secret" + b"\x05\x01\x00\x03\x06h.test\x01\xbb"


@pytest.mark.parametrize(
    ("proxy", "answer", "kind", "says"),
    [
        (SOCKS, b"\x05\xff", ProxyDenied, "requires a user name and password"),
        (known(SOCKS), b"\x05\xff", ProxyDenied, "does not accept a user name and password"),
        (known(SOCKS), b"\x05\x02\x01\x01", ProxyDenied, "does not accept the user name or password"),
        (SOCKS, b"\x05\x02", ProxyRefused, "not offered"),
        (SOCKS, b"\x04\x00", ProxyRefused, "does not speak SOCKS5"),
        (SOCKS, b"H", ProxyRefused, "does not speak SOCKS5"),
        (SOCKS, b"\x05\x00\x04", ProxyRefused, "does not speak SOCKS5"),
        (SOCKS, b"\x05\x00\x05\x01", ConnectionFailed, "general failure"),
        (
            SOCKS,
            b"\x05\x00\x05\x02",
            ProxyRefused,
            r"denied access to h\.test:443 \(SOCKS reply 2, not allowed by its rules\)",
        ),
        (SOCKS, b"\x05\x00\x05\x03", ConnectionFailed, "network unreachable"),
        (SOCKS, b"\x05\x00\x05\x04", ConnectionFailed, r"not reach h\.test:443 \(SOCKS reply 4, host unreachable\)"),
        (SOCKS, b"\x05\x00\x05\x05", ConnectionFailed, "connection refused"),
        (SOCKS, b"\x05\x00\x05\x06", ConnectionFailed, "TTL expired"),
        (SOCKS, b"\x05\x00\x05\x07", ProxyRefused, "command not supported"),
        (SOCKS, b"\x05\x00\x05\x08", ProxyRefused, "address type not supported"),
        (SOCKS, b"\x05\x00\x05\x99", ProxyRefused, "unknown reply"),
        (SOCKS, b"\x05\x00\x05\x00\x00\x02\x00", ProxyRefused, "address of an unknown type"),
        (SOCKS, b"\x05\x00\x05\0\0\x01\0\0\0\0\0\0X", ProxyRefused, "bytes before any request"),
    ],
)
def test_an_answer_that_makes_no_socks_tunnel(
    proxy: Proxy, answer: bytes, kind: type[ModelferryError], says: str
) -> None:
    with pytest.raises(kind, match=says) as caught:
        Socks5Tunnel(proxy, "h.test", 443).receive(answer)
    assert "the proxy socks5h://p:1080" in caught.value.message
    assert "secret" not in caught.value.message


SEEDS = (
    b"HTTP/1.1 200 Connection established\r\nVia: 1.1 p\r\n\r\n",
    b"HTTP/1.1 407 No\r\nProxy-Authenticate: Basic realm=x\r\nX-Squid-Error: ERR_CACHE_ACCESS_DENIED 0\r\n\r\n<html>",
    SPOKEN + b"\x05\0\0\x01\0\0\0\0\0\0",
    b"\x05\0\x05\0\0\x03\x05proxy\0\0",
)
TOKENS = (b"\r\n", b"\n", b"\r\n\r\n", b"\0", b"\xff", b"\x05", b"HTTP/1.1 ", b" 200 ", b"\xc2\xb2", b":", b"\x03\xff")


@pytest.mark.parametrize("seed", range(20))
def test_whatever_a_proxy_says_ends_well_or_in_our_errors(seed: int) -> None:
    random = Random(seed)
    for _ in range(500):
        text = bytearray(random.choice(SEEDS))
        for _ in range(random.choice((0, 1, 2, 5))):
            at = random.randrange(len(text) + 1)
            text[at : at + random.choice((0, 1, 4))] = random.choice((*TOKENS, bytes([random.randrange(256)])))
        cut = random.randrange(len(text) + 1)
        for make in (ConnectTunnel, Socks5Tunnel):
            whole, parts = make(known(HTTP), "h.test", 443), make(known(HTTP), "h.test", 443)
            assert outcome(whole, bytes(text)) == outcome(parts, bytes(text[:cut]), bytes(text[cut:]))


def outcome(tunnel: Handshake, *pieces: bytes) -> object:
    """What becomes of a handshake whose answers come in these pieces, as far as they are looked at."""
    sent = b""
    try:
        for piece in pieces:
            if not tunnel.done:
                sent += tunnel.receive(piece)
            elif piece:
                return "surplus"
    except ModelferryError as error:
        return "surplus" if "before any request" in error.message else (type(error), error.message)
    return tunnel.done, sent
