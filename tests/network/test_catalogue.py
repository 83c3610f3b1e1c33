"""Every server behavior of docs/hostile-servers.md, with real sockets, directly and through each proxy: the content on
disk, the requests, and the reported error."""

from __future__ import annotations

import ssl
from collections.abc import Iterable
from contextlib import AsyncExitStack
from dataclasses import replace
from datetime import timedelta
from pathlib import Path

import pytest

from modelferry.errors import CertificateRefused
from modelferry.http.tls.pinning import pins_of
from modelferry.http.transport.connection_key import Timeouts
from modelferry.http.wire import ServerBehavior
from network.catalogue import CASES, DATA, Case, RequestedRange
from network.harness import CHUNK, DownloadHarness, Serve, entry
from network.routes import DIRECT, ROUTES, through
from origin.certs import Authority, Leaf
from origin.rules import Rule
from origin.server import HostileOrigin

pytestmark = pytest.mark.usefixtures("small_chunks", "route")

#: Fields that a request to a source may have.
SENT = {"host", "user-agent", "accept", "accept-encoding", "want-content-digest", "range", "cache-control"}


@pytest.fixture(params=ROUTES)
def route(request: pytest.FixtureRequest, harness: DownloadHarness) -> str:
    """Each route in turn."""
    if request.param != DIRECT:
        harness.proxies = through(request.getfixturevalue(request.param).url)
    return str(request.param)


def requested(origin: HostileOrigin) -> list[RequestedRange]:
    """The requests for ``a``, as the catalogue writes them."""
    return [_requested_range(request.start, request.end) for request in origin.received if request.path == "/a"]


def _requested_range(start: int | None, end: int | None) -> RequestedRange:
    if start is None or end is None:
        return None
    is_chunk = start % CHUNK == 0 and end == min(start + CHUNK, len(DATA))
    return start // CHUNK if is_chunk else (start, end)


def _sorted(ranges: Iterable[RequestedRange]) -> list[str]:
    return sorted(map(str, ranges))


def comparable(route: str, behaviors: Iterable[int]) -> list[int]:
    """`behaviors`, with resets as short bodies if there is a proxy, which may forward a reset as the end of the
    body."""
    return sorted(
        ServerBehavior.SHORT_BODY if route != DIRECT and behavior == ServerBehavior.CONNECTION_RESET else behavior
        for behavior in behaviors
    )


@pytest.mark.parametrize("case", CASES, ids=lambda case: f"{case.behavior.label}: {case.title}")
async def test_a_server_behavior(serve: Serve, harness: DownloadHarness, case: Case, route: str) -> None:
    harness.connections, harness.progress_deadline = 1, case.progress_deadline
    if case.short_timeouts:
        harness.limits = Timeouts(connect=5.0, head=1.0, stall=1.0, floor=1)
    async with AsyncExitStack() as stack:
        servers = {
            "origin": await stack.enter_async_context(serve({"a": case.content}, digest=case.digest)),
            "other": await stack.enter_async_context(serve({"a": DATA})),
            "plain": await stack.enter_async_context(serve({"a": DATA}, tls=None)),
        }

        def url(location: str) -> str:
            server, _, path = location.partition(":")
            return f"{servers[server].url(path)}?token=secret"

        for rule in case.rules:
            servers["origin"].script.add(replace(rule, redirect=url(rule.redirect) if rule.redirect else ""))
        file = entry("a", DATA, *map(url, case.locations), algorithm=case.algorithm, validator=case.validator)
        if case.error is None:
            await harness.pull(file)
            assert harness.read("a") == DATA
        else:
            with pytest.raises(case.error, match=case.message) as caught:
                await harness.pull(file)
            assert caught.value.file == "a"
            assert "secret" not in caught.value.message
            assert not harness.published
        if case.request_count is None:
            assert _sorted(requested(servers["origin"])) == _sorted(case.requests)
            assert comparable(route, harness.met) == comparable(route, case.behaviors)
        else:
            assert case.request_count[0] <= len(requested(servers["origin"])) <= case.request_count[1]
            assert set(comparable(route, harness.met)) <= set(comparable(route, case.behaviors))
        assert _sorted(requested(servers["other"])) == _sorted(case.other_requests)
        assert not servers["plain"].received
        for server in servers.values():
            assert {request.method for request in server.received} <= {"GET"}
            assert {name for request in server.received for name, _ in request.fields} <= SENT


# Behaviors in the TLS handshake, before any request. The certificate takes the place of the rules.

DAY = timedelta(days=1)


def pin_of(leaf: Leaf) -> str:
    """The pin of its public key."""
    return pins_of(ssl.PEM_cert_to_DER_cert(leaf.cert.read_text()))[1]


@pytest.mark.parametrize(
    ("behavior", "kind", "reason"),
    [
        (ServerBehavior.PIN_MISMATCH, "not pinned", "PinMismatch"),
        (ServerBehavior.CERTIFICATE_REFUSED, "for another host", "HostMismatch"),
        (ServerBehavior.CERTIFICATE_REFUSED, "expired", "CertificateExpired"),
        (ServerBehavior.CERTIFICATE_REFUSED, "of another CA", "UnknownAuthority"),
        (ServerBehavior.CLOCK_SKEW, "not valid yet", "ClockSkew"),
    ],
)
async def test_a_certificate_is_refused_before_a_request_is_sent(
    harness: DownloadHarness, authority: Authority, tmp_path: Path, behavior: ServerBehavior, kind: str, reason: str
) -> None:
    leaf = {
        "not pinned": lambda: authority.leaf("127.0.0.1", name="unpinned"),
        "for another host": lambda: authority.leaf("example.com", name="host"),
        "expired": lambda: authority.leaf("127.0.0.1", name="expired", begins=-2 * DAY, ends=-DAY),
        "of another CA": lambda: Authority(tmp_path, "other").leaf("127.0.0.1"),
        "not valid yet": lambda: authority.leaf("127.0.0.1", name="early", begins=DAY, ends=2 * DAY),
    }[kind]()
    if behavior is ServerBehavior.PIN_MISMATCH:
        harness.pins = (pin_of(authority.leaf("127.0.0.1", name="pinned")),)
    async with HostileOrigin({"a": DATA}, tls=leaf.context()) as origin:
        with pytest.raises(CertificateRefused) as caught:
            await harness.pull(entry("a", DATA, origin.url("a")))
        assert not origin.received
    assert (caught.value.reason, caught.value.file) == (reason, "a")
    assert harness.met == [ServerBehavior.CERTIFICATE_REFUSED]
    assert not harness.published


@pytest.mark.parametrize("listed", [True, False])
async def test_a_certificate_that_changes_during_the_download_is_accepted_if_its_pin_is_listed(
    harness: DownloadHarness, authority: Authority, listed: bool
) -> None:
    first, second = authority.leaf("127.0.0.1", name="first"), authority.leaf("127.0.0.1", name="second")
    context, changed = first.context(), second.context()
    harness.pins = (pin_of(first), pin_of(second)) if listed else (pin_of(first),)
    harness.connections = 1
    async with HostileOrigin({"a": DATA}, tls=context, rules=[Rule(covers=CHUNK, reset=0, times=1)]) as origin:

        def swap(connection: ssl.SSLObject, _name: str | None, _context: ssl.SSLContext) -> None:
            connection.context = changed if origin.received else context

        context.sni_callback = swap
        if listed:
            await harness.pull(entry("a", DATA, origin.url("a")))
            assert harness.read("a") == DATA
            assert _sorted(requested(origin)) == _sorted([0, 1, 1, 2, 3, 4, 5])
        else:
            with pytest.raises(CertificateRefused, match="neither is pinned") as caught:
                await harness.pull(entry("a", DATA, origin.url("a")))
            assert caught.value.reason == "PinMismatch"
            assert _sorted(requested(origin)) == _sorted([0, 1])
            assert not harness.published
