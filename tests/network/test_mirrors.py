"""Several mirrors over real sockets: one dies and comes back, one lies, several bring one file together."""

from __future__ import annotations

import asyncio
import socket
from collections import Counter
from dataclasses import replace
from datetime import UTC, datetime
from random import Random
from urllib.parse import parse_qs

import pytest

from modelferry.cli.inspect import lines_of
from modelferry.engine.checkpoint.api import QuarantinedMirror
from modelferry.engine.checkpoint.worker import CheckpointWorker
from modelferry.engine.maintenance.inspection import inspect
from modelferry.engine.mirrors import Mirror
from modelferry.errors import DigestMismatch, DiskError, ProxyDenied, SourceUnavailable
from modelferry.http.auth.presigned import SigV4URLs, StoredURLs
from modelferry.http.auth.sigv4 import Keys
from modelferry.http.proxy.selection import Proxies, Proxy
from modelferry.http.transport.throttle import Throttle
from modelferry.manifest import FileEntry, Location
from network.ways import through
from network.world import CHUNK, Serve, World, entry
from origin.proxies import Dante, Squid
from origin.rules import Rule
from origin.server import HostileOrigin

pytestmark = pytest.mark.usefixtures("small_chunks")

IN_ORDER = (
    Mirror("m0", 0, probe_interval=2.0),
    Mirror("m1", 1, probe_interval=2.0),
    Mirror("m2", 2, probe_interval=2.0),
)
EQUAL = (Mirror("m0", 0), Mirror("m1", 0), Mirror("m2", 0))


@pytest.fixture(scope="module")
def large() -> bytes:
    """A file of 60 chunks and a bit."""
    return Random(8).randbytes(60 * CHUNK + 99)


def states(world: World) -> dict[str, str]:
    """Of each mirror, as it was told at the end."""
    assert world.progress is not None
    return {mirror.name: mirror.state for mirror in world.progress.mirrors}


async def test_a_primary_that_dies_is_replaced_and_used_again_when_it_is_back(
    serve: Serve, world: World, large: bytes
) -> None:
    world.mirrors, world.progress_deadline = IN_ORDER[:2], 60.0
    slow = 4 * CHUNK
    async with serve({"a": large}, rate=slow) as backup:
        primary = serve({"a": large}, rate=slow)
        await primary.__aenter__()
        port = primary.port
        pull = asyncio.create_task(world.pull(entry("a", large, primary.url("a"), backup.url("a"))))
        await primary.until(lambda: len(primary.entries) > 8)
        await primary.__aexit__()
        assert not backup.entries
        await backup.until(lambda: len([e for e in backup.entries if e.sent]) > 4)
        async with serve({"a": large}, rate=slow, port=port) as again:
            result = await pull
            came_back = len([e for e in again.entries if e.sent > 1])
        assert came_back > 4
        in_flight = world.connections * CHUNK
        sent = primary.sent() + backup.sent() + again.sent()
    assert world.read("a") == large
    assert len(large) <= result.fetched <= sent <= len(large) + in_flight + 64
    assert states(world) == {"m0": "Up", "m1": "Up"}
    assert world.progress is not None
    assert {m.name: m.fallbacks for m in world.progress.mirrors} == {"m0": 0, "m1": 1}


async def test_chunks_of_one_file_come_from_several_mirrors_at_once(serve: Serve, world: World, large: bytes) -> None:
    world.mirrors, world.connections = EQUAL, 6
    async with (
        serve({"a": large}, rate=2 * CHUNK) as one,
        serve({"a": large}, rate=4 * CHUNK) as two,
        serve({"a": large}, rate=8 * CHUNK) as three,
    ):
        origins = one, two, three
        await world.pull(entry("a", large, *(origin.url("a") for origin in origins)))
        assert all(origin.sent() > 4 * CHUNK for origin in origins)
        assert sum(origin.sent() for origin in origins) == len(large)
    assert world.read("a") == large


@pytest.mark.parametrize("liar", [0, 2])
@pytest.mark.parametrize("spread", ["everywhere", "once"])
async def test_a_mirror_that_lies_is_quarantined_and_the_file_is_right(
    serve: Serve, world: World, large: bytes, liar: int, spread: str
) -> None:
    world.mirrors, world.connections = EQUAL, 6
    rules = [Rule(corrupt=n * CHUNK + 5) for n in (range(60) if spread == "everywhere" else range(0, 60, 2))]
    async with (
        serve({"a": large}, rate=16 * CHUNK) as one,
        serve({"a": large}, rate=16 * CHUNK) as two,
        serve({"a": large}, rate=16 * CHUNK) as three,
    ):
        origins = one, two, three
        for rule in rules:
            origins[liar].script.add(rule)
        await world.pull(entry("a", large, *(origin.url("a") for origin in origins)))
        assert sum(origin.sent() for origin in origins) < 3 * len(large)
    assert world.read("a") == large
    assert states(world)[f"m{liar}"] == "Quarantined"
    assert Counter(states(world).values()) == {"Quarantined": 1, "Up": 2}


async def test_what_came_from_a_liar_without_a_digest_is_fetched_anew(serve: Serve, world: World, data: bytes) -> None:
    world.mirrors = IN_ORDER[:2]
    wrong = bytes(len(data))
    async with serve({"a": data, "b": data}) as honest, serve({"a": wrong, "b": wrong}) as liar:
        liar.script.add(Rule(path="b", rate=4 * CHUNK))
        await world.pull(
            entry("a", data, liar.url("a"), honest.url("a")),
            entry("b", data, liar.url("b"), honest.url("b"), algorithm=None),
        )
    assert (world.read("a"), world.read("b")) == (data, data)


async def test_a_wrong_declared_digest_blames_no_mirror(serve: Serve, world: World, data: bytes) -> None:
    world.mirrors = EQUAL[:2]
    async with serve({"a": data}) as one, serve({"a": data}) as two:
        with pytest.raises(DigestMismatch, match="not the declared one"):
            await world.pull(entry("a", b"x" * len(data), one.url("a"), two.url("a")))
        assert one.sent() + two.sent() == 2 * len(data)
    assert set(states(world).values()) == {"Up"}
    assert not world.published


async def test_without_a_digest_a_file_comes_from_one_mirror(serve: Serve, world: World, large: bytes) -> None:
    world.mirrors = EQUAL[:2]
    async with serve({"a": large}) as one, serve({"a": large}) as two:
        await world.pull(entry("a", large, one.url("a"), two.url("a"), algorithm=None))
        assert sorted((one.sent(), two.sent())) == [0, len(large)]


async def test_a_mirror_that_falls_silent_is_left_within_seconds(
    serve: Serve, world: World, large: bytes, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("modelferry.engine.mirrors.registry.SILENCE", 0.5)
    world.mirrors = IN_ORDER[:2]
    world.limits = type(world.limits)(connect=5.0, head=60.0, stall=60.0, floor=1)
    async with serve({"a": large}) as primary, serve({"a": large}) as backup:
        primary.script.add(Rule(stall=10, first=10))
        primary.script.add(Rule(delay=600.0, first=12))
        await world.pull(entry("a", large, primary.url("a"), backup.url("a")))
    assert world.read("a") == large
    assert states(world)["m0"] == "Down"


async def test_with_every_mirror_down_the_download_waits_and_then_says_so(
    serve: Serve, world: World, data: bytes
) -> None:
    world.mirrors, world.progress_deadline = IN_ORDER[:2], 1.5
    async with serve({"a": data}) as one, serve({"a": data}) as two:
        for origin in (one, two):
            origin.script.add(Rule(first=2, status=500))
        with pytest.raises(SourceUnavailable, match=r"no progress for 2 s"):
            await world.pull(entry("a", data, one.url("a"), two.url("a")))
    assert set(states(world).values()) == {"Down"}
    assert world.progress is not None
    assert "all 2 mirrors are down" in world.progress.message


async def test_a_file_that_a_mirror_lacks_comes_from_the_next(serve: Serve, world: World, data: bytes) -> None:
    world.mirrors = IN_ORDER[:2]
    async with serve({"a": data}) as partial, serve({"a": data, "b": data}) as whole:
        files = [entry(path, data, partial.url(path), whole.url(path)) for path in ("a", "b")]
        await world.pull(*files)
        assert {e.path for e in whole.entries if e.sent > 1} == {"/b"}
    assert states(world) == {"m0": "Up", "m1": "Up"}


async def test_etags_are_never_compared_across_mirrors(serve: Serve, world: World, large: bytes) -> None:
    world.mirrors = EQUAL[:2]
    async with serve({"a": large}, rules=[Rule(etag='"one"')]) as one, serve({"a": large}) as two:
        result = await world.pull(entry("a", large, one.url("a"), two.url("a")))
        assert one.sent()
        assert two.sent()
    assert result.retries == 0


#: Seconds that a presigned URL lives here, and that the download takes at least.
LIFE, LONG = 2, 6


def rates(seconds: float, connections: int, size: int) -> float:
    """Bytes per second of one stream, so that all of them take `seconds`."""
    return size / seconds / connections


async def test_presigned_urls_that_live_a_fraction_of_the_download_never_fail(
    serve: Serve, world: World, large: bytes
) -> None:
    keys = Keys("id", "hush")
    world.presigners = {"m0": SigV4URLs(keys, "us-east-1", LIFE, lambda: datetime.now(UTC))}
    rate = rates(LONG, world.connections, len(large))
    async with serve({"b/a": large}, rules=[Rule(presigned=True)], rate=rate) as store:
        result = await world.pull(entry("a", large, store.url("b/a")))
        asked = {parse_qs(e.query)["X-Amz-Date"][0] for e in store.entries}
        assert {e.status for e in store.entries} == {206}
    assert len(asked) > LONG / LIFE / 2
    assert result.retries == 0
    assert world.read("a") == large


async def test_a_url_that_ran_out_in_its_secret_is_asked_again_when_somebody_renews_it(
    serve: Serve, world: World, data: bytes
) -> None:
    """Here it is renewed when the store has refused it three times."""
    stamps = ["20200101T000000Z"]

    def query() -> str:
        return f"X-Amz-Date={stamps[-1]}&X-Amz-Expires=600"

    async with serve({"a": data}, rules=[Rule(presigned=True)]) as store:
        location = store.url("a")
        world.presigners = {
            "m0": StoredURLs(lambda: {location: f"{location}?{query()}"}, lambda: float(len(store.entries)) * 2)
        }
        pull = asyncio.create_task(world.pull(entry("a", data, location)))
        await store.until(lambda: [e.status for e in store.entries].count(403) == 3)
        stamps.append(datetime.now(UTC).strftime("%Y%m%dT%H%M%SZ"))
        await pull
    assert world.read("a") == data


async def test_a_mirror_whose_urls_ran_out_is_replaced_by_the_next(serve: Serve, world: World, data: bytes) -> None:
    world.mirrors = IN_ORDER[:2]
    async with serve({"a": data}, rules=[Rule(presigned=True)]) as store, serve({"a": data}) as backup:
        location = store.url("a")
        world.presigners = {"m0": StoredURLs(lambda: {location: f"{location}?sig=old"}, lambda: 0.0)}
        await world.pull(entry("a", data, location, backup.url("a")))
    assert world.read("a") == data


async def lied_to(world: World, liar: HostileOrigin, honest: HostileOrigin, *files: FileEntry) -> None:
    """Pull until the liar is found by the file `a`; then the process ends. All other files are held back until then."""
    for number in range(len(liar.contents["a"]) // CHUNK):
        liar.script.add(Rule(path="a", corrupt=number * CHUNK + 5))
    for origin in (liar, honest):
        origin.script.add(Rule(path="b", rate=CHUNK))
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(CheckpointWorker, "quarantine", _remember_and_end)
        with pytest.raises(DiskError):
            await world.pull(*files)
    assert not world.published
    for origin in (liar, honest):
        origin.script.clear()
        origin.asked.clear()


def _remember_and_end(worker: CheckpointWorker, found: QuarantinedMirror) -> None:
    worker.chunk_store.quarantine(worker.manifest.revision, found)
    raise DiskError("the power goes")


async def test_a_quarantine_outlives_the_attempt(serve: Serve, world: World, data: bytes, large: bytes) -> None:
    world.mirrors, contents = IN_ORDER[:2], {"a": data, "b": large}
    async with serve(contents) as liar, serve(contents) as honest:
        files = [entry(path, content, liar.url(path), honest.url(path)) for path, content in contents.items()]
        await lied_to(world, liar, honest, *files)
        told = f"  quarantined: m0, which served wrong bytes of a ({liar.url('a')})"
        assert told in lines_of(inspect(world.directory))
        await world.pull(*files)
        assert honest.asked
        assert not liar.asked
    assert world.read("b") == large
    assert states(world) == {"m0": "Quarantined", "m1": "Up"}
    assert world.progress is not None
    assert world.progress.mirrors[0].message == "served wrong bytes of a"


@pytest.mark.parametrize("changed", ["name", "url"])
async def test_a_mirror_with_another_name_or_url_is_asked_again(
    serve: Serve, world: World, data: bytes, large: bytes, changed: str
) -> None:
    world.mirrors, contents = IN_ORDER[:2], {"a": data, "b": large}
    async with serve(contents) as liar, serve(contents) as honest:
        files = [entry(path, content, liar.url(path), honest.url(path)) for path, content in contents.items()]
        await lied_to(world, liar, honest, *files)
        name, at = ("mended", "") if changed == "name" else ("m0", "new/")
        world.mirrors = (Mirror(name, 0), Mirror("m1", 1))
        liar.contents |= {f"new/{path}": content for path, content in contents.items()}
        locations = {file.path: Location(liar.url(f"{at}{file.path}"), name) for file in files}
        await world.pull(*(replace(file, locations=(locations[file.path], file.locations[1])) for file in files))
        assert len(liar.asked) > 1
    assert set(states(world).values()) == {"Up"}


async def test_what_a_liar_brought_of_a_file_without_a_digest_is_fetched_anew_in_the_next_attempt(
    serve: Serve, world: World, data: bytes
) -> None:
    """The first one ended before anything else followed from the quarantine."""
    world.mirrors, wrong = IN_ORDER[:2], bytes(len(data))
    async with serve({"a": data, "b": wrong}) as liar, serve({"a": data, "b": data}) as honest:
        files = [
            entry("a", data, liar.url("a"), honest.url("a")),
            entry("b", data, liar.url("b"), honest.url("b"), algorithm=None),
        ]
        await lied_to(world, liar, honest, *files)
        await world.pull(*files)
        assert not liar.asked
    assert (world.read("a"), world.read("b")) == (data, data)


async def test_each_mirror_keeps_to_its_own_limit_and_the_others_bring_the_rest(
    serve: Serve, world: World, large: bytes
) -> None:
    """Told by what was paid for, not by a clock."""
    world.mirrors, world.throttle = EQUAL[:2], Throttle(4)
    world.throttle.set_mirrors({"m0": 16 * CHUNK})
    async with serve({"a": large}) as limited, serve({"a": large}, rate=8 * CHUNK) as free:
        before = asyncio.get_running_loop().time()
        result = await world.pull(entry("a", large, limited.url("a"), free.url("a")))
        took = asyncio.get_running_loop().time() - before
        # What it sent it was let: the bucket gives no more in that time, and a tenth of a second's worth at once.
        assert limited.sent() <= 16 * CHUNK * (took + 0.1)
        assert limited.sent() > 2 * CHUNK
        assert free.sent() > 2 * CHUNK
    assert world.read("a") == large
    assert result.retries == 0


@pytest.mark.parametrize("fields", [(), (("Accept-Ranges", "none"),)])
async def test_a_mirror_that_ignores_ranges_is_passed_over_and_the_file_comes_in_chunks(
    serve: Serve, world: World, large: bytes, fields: tuple[tuple[str, str], ...]
) -> None:
    world.mirrors, contents = IN_ORDER[:2], {"a": large, "b": large}
    ignoring = [Rule(ignore_range=True, fields=fields)]
    async with serve(contents, rules=ignoring) as bad, serve(contents) as good:
        await world.pull(*(entry(path, large, bad.url(path), good.url(path)) for path in contents))
        assert {e.status for e in good.entries} == {206}
        assert good.sent() == 2 * len(large)
    assert states(world) == {"m0": "Up", "m1": "Up"}


async def test_without_a_digest_too_a_mirror_that_ignores_ranges_is_passed_over(
    serve: Serve, world: World, large: bytes
) -> None:
    world.mirrors = IN_ORDER[:2]
    async with serve({"a": large}, rules=[Rule(ignore_range=True)]) as bad, serve({"a": large}) as good:
        await world.pull(entry("a", large, bad.url("a"), good.url("a"), algorithm=None))
        assert good.sent() == len(large)
    assert world.read("a") == large


async def test_a_mirror_that_ignores_ranges_is_used_when_the_others_are_down(
    serve: Serve, world: World, data: bytes
) -> None:
    world.mirrors = IN_ORDER[:2]
    async with serve({"a": data}, rules=[Rule(ignore_range=True)]) as bad, serve({"a": data}) as good:
        good.script.add(Rule(status=500))
        await world.pull(entry("a", data, bad.url("a"), good.url("a")))
        assert not [e for e in good.entries if e.status == 206]
    assert world.read("a") == data
    assert states(world)["m1"] == "Down"


async def test_each_mirror_is_reached_by_its_own_proxy_and_never_directly(
    serve: Serve, world: World, large: bytes, squid: Squid, dante: Dante
) -> None:
    world.mirrors, world.connections = EQUAL[:2], 4
    world.mirror_proxies = {"m0": through(squid.url), "m1": through(dante.url)}
    async with serve({"a": large}, rate=16 * CHUNK) as one, serve({"a": large}, rate=16 * CHUNK) as two:
        await world.pull(entry("a", large, one.url("a"), two.url("a")))
        assert (one.peers, two.peers) == ({squid.outgoing}, {dante.outgoing})
        assert one.sent() > CHUNK
        assert two.sent() > CHUNK
    assert world.read("a") == large


async def test_a_mirror_whose_proxy_is_gone_is_down_and_not_reached_past_it(
    serve: Serve, world: World, data: bytes, squid: Squid
) -> None:
    """Neither for chunks nor for probes; the other one is reached through its own."""
    world.mirrors = IN_ORDER[:2]
    world.mirror_proxies = {"m0": through("http://127.0.0.1:9"), "m1": through(squid.url)}
    async with serve({"a": data}) as first, serve({"a": data}, rate=CHUNK) as second:
        await world.pull(entry("a", data, first.url("a"), second.url("a")))
        assert first.accepted == 0
        assert second.peers == {squid.outgoing}
    assert states(world) == {"m0": "Down", "m1": "Up"}
    assert world.progress is not None
    assert "proxy http://127.0.0.1:9" in world.progress.mirrors[0].message


@pytest.mark.parametrize("kind", ["squid", "dante"])
async def test_a_proxy_that_wants_credentials_names_the_mirrors_own_field(
    serve: Serve, world: World, data: bytes, request: pytest.FixtureRequest, kind: str
) -> None:
    url = request.getfixturevalue(kind).url
    proxy = replace(Proxy.of(url), asked_by="spec.mirrors[m0].proxy")
    world.mirror_proxies = {"m0": Proxies(proxy, proxy)}
    async with serve({"a": data}) as origin:
        with pytest.raises(ProxyDenied, match=r"give them by a Secret that spec\.mirrors\[m0\]\.proxy\.auth names"):
            await world.pull(entry("a", data, origin.url("a")))
        assert origin.accepted == 0


async def test_a_name_whose_address_is_dead_and_that_then_moves_costs_no_mirror(
    serve: Serve, world: World, large: bytes, monkeypatch: pytest.MonkeyPatch
) -> None:
    """First a dead address before a good one; then other addresses alone; all within one download."""
    dead = ("127.0.0.9", 9)
    async with serve({"a": large}, rate=8 * CHUNK) as before, serve({"a": large}) as after:
        answers = [[dead, ("127.0.0.1", before.port)]]
        asked: list[str] = []

        async def resolve(self: object, host: str, port: int, **_: object) -> list[object]:
            asked.append(host)
            kind = socket.AF_INET, socket.SOCK_STREAM, socket.IPPROTO_TCP, ""
            return [(*kind, address) for address in answers[-1]]

        monkeypatch.setattr(asyncio.BaseEventLoop, "getaddrinfo", resolve)
        pull = asyncio.create_task(world.pull(entry("a", large, "https://localhost:4443/a")))
        await before.until(lambda: len(before.entries) > 8)
        answers.append([dead, ("127.0.0.1", after.port)])
        await before.__aexit__()
        await pull
        assert before.sent() < len(large)
        assert after.sent() > CHUNK
    assert world.read("a") == large
    assert set(asked) == {"localhost"}
