"""Every row of docs/hostile-servers.md over real sockets, by each way to the origin: the bytes on the disk, the
requests sent, the reason reported."""

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
from network.catalogue import CASES, DATA, Ask, Case
from network.ways import DIRECT, WAYS, through
from network.world import CHUNK, Serve, World, entry
from origin.certs import Authority, Leaf
from origin.rules import Rule
from origin.server import HostileOrigin

pytestmark = pytest.mark.usefixtures("small_chunks", "route")

#: Fields that a request to a source may have.
SENT = {"host", "user-agent", "accept", "accept-encoding", "want-content-digest", "range", "cache-control"}


@pytest.fixture(params=WAYS)
def route(request: pytest.FixtureRequest, world: World) -> str:
    """One way after the other."""
    if request.param != DIRECT:
        world.proxies = through(request.getfixturevalue(request.param).url)
    return str(request.param)


def asked(origin: HostileOrigin) -> list[Ask]:
    """The requests for ``a``, in the words of the table."""
    return [_ask(request.start, request.end) for request in origin.asked if request.path == "/a"]


def _ask(start: int | None, end: int | None) -> Ask:
    if start is None or end is None:
        return None
    whole = start % CHUNK == 0 and end == min(start + CHUNK, len(DATA))
    return start // CHUNK if whole else (start, end)


def _sorted(asks: Iterable[Ask]) -> list[str]:
    return sorted(map(str, asks))


def seen(route: str, rows: Iterable[int]) -> list[int]:
    """What is left of `rows` behind a proxy, which may pass a reset (31) on as an end (9)."""
    return sorted(9 if route != DIRECT and row == 31 else row for row in rows)


@pytest.mark.parametrize("case", CASES, ids=lambda case: f"row {case.row}: {case.what}")
async def test_a_row_of_the_catalogue(serve: Serve, world: World, case: Case, route: str) -> None:
    world.connections, world.progress_deadline = 1, case.progress_deadline
    if case.drips:
        world.limits = Timeouts(connect=5.0, head=1.0, stall=1.0, floor=1)
    async with AsyncExitStack() as stack:
        servers = {
            "origin": await stack.enter_async_context(serve({"a": case.served}, digest=case.digest)),
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
            await world.pull(file)
            assert world.read("a") == DATA
        else:
            with pytest.raises(case.error, match=case.says) as caught:
                await world.pull(file)
            assert caught.value.file == "a"
            assert "secret" not in caught.value.message
            assert not world.published
        if case.many is None:
            assert _sorted(asked(servers["origin"])) == _sorted(case.asked)
            assert seen(route, world.met) == seen(route, case.met)
        else:
            assert case.many[0] <= len(asked(servers["origin"])) <= case.many[1]
            assert set(seen(route, world.met)) <= set(seen(route, case.met))
        assert _sorted(asked(servers["other"])) == _sorted(case.other)
        assert not servers["plain"].asked
        for server in servers.values():
            assert {request.method for request in server.asked} <= {"GET"}
            assert {name for request in server.asked for name, _ in request.fields} <= SENT


# What is decided in the handshake, so that no request is sent: the rule is the certificate.

DAY = timedelta(days=1)


def pin_of(leaf: Leaf) -> str:
    """Of its public key."""
    return pins_of(ssl.PEM_cert_to_DER_cert(leaf.cert.read_text()))[1]


@pytest.mark.parametrize(
    ("row", "kind", "reason"),
    [
        (46, "not pinned", "PinMismatch"),
        (47, "another host's", "HostMismatch"),
        (47, "expired", "CertificateExpired"),
        (47, "another authority's", "UnknownAuthority"),
        (49, "not valid yet", "ClockSkew"),
    ],
)
async def test_rows_46_47_and_49_a_certificate_is_refused_before_a_request_is_sent(
    world: World, authority: Authority, tmp_path: Path, row: int, kind: str, reason: str
) -> None:
    leaf = {
        "not pinned": lambda: authority.leaf("127.0.0.1", name="unpinned"),
        "another host's": lambda: authority.leaf("example.com", name="host"),
        "expired": lambda: authority.leaf("127.0.0.1", name="expired", begins=-2 * DAY, ends=-DAY),
        "another authority's": lambda: Authority(tmp_path, "other").leaf("127.0.0.1"),
        "not valid yet": lambda: authority.leaf("127.0.0.1", name="early", begins=DAY, ends=2 * DAY),
    }[kind]()
    if row == 46:
        world.pins = (pin_of(authority.leaf("127.0.0.1", name="pinned")),)
    async with HostileOrigin({"a": DATA}, tls=leaf.context()) as origin:
        with pytest.raises(CertificateRefused) as caught:
            await world.pull(entry("a", DATA, origin.url("a")))
        assert not origin.asked
    assert (caught.value.reason, caught.value.file) == (reason, "a")
    assert world.met == [47]
    assert not world.published


@pytest.mark.parametrize("listed", [True, False])
async def test_row_48_a_certificate_that_changes_on_the_way_passes_where_its_pin_is_listed(
    world: World, authority: Authority, listed: bool
) -> None:
    first, second = authority.leaf("127.0.0.1", name="first"), authority.leaf("127.0.0.1", name="second")
    context, changed = first.context(), second.context()
    world.pins = (pin_of(first), pin_of(second)) if listed else (pin_of(first),)
    world.connections = 1
    async with HostileOrigin({"a": DATA}, tls=context, rules=[Rule(covers=CHUNK, reset=0, times=1)]) as origin:

        def swap(connection: ssl.SSLObject, _name: str | None, _context: ssl.SSLContext) -> None:
            connection.context = changed if origin.asked else context

        context.sni_callback = swap
        if listed:
            await world.pull(entry("a", DATA, origin.url("a")))
            assert world.read("a") == DATA
            assert _sorted(asked(origin)) == _sorted([0, 1, 1, 2, 3, 4, 5])
        else:
            with pytest.raises(CertificateRefused, match="neither is pinned") as caught:
                await world.pull(entry("a", DATA, origin.url("a")))
            assert caught.value.reason == "PinMismatch"
            assert _sorted(asked(origin)) == _sorted([0, 1])
            assert not world.published
