"""Several mirrors over real sockets: one dies and comes back, one lies, several bring one file together."""

from __future__ import annotations

import asyncio
from collections import Counter
from datetime import UTC, datetime
from random import Random
from urllib.parse import parse_qs

import pytest

from modelferry.engine.mirrors import Mirror
from modelferry.errors import DigestMismatch, SourceUnavailable
from modelferry.net.presigned import Given, Minted
from modelferry.net.sigv4 import Keys
from network.world import CHUNK, Serve, World, entry
from origin.rules import Rule

pytestmark = pytest.mark.usefixtures("small_chunks")

IN_ORDER = (Mirror("m0", 0, probe=2.0), Mirror("m1", 1, probe=2.0), Mirror("m2", 2, probe=2.0))
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
    world.mirrors, world.patience = IN_ORDER[:2], 60.0
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
    monkeypatch.setattr("modelferry.engine.servers.SILENCE", 0.5)
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
    world.mirrors, world.patience = IN_ORDER[:2], 1.5
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
    world.presigners = {"m0": Minted(keys, "us-east-1", LIFE, lambda: datetime.now(UTC))}
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
        place = store.url("a")
        world.presigners = {"m0": Given(lambda: {place: f"{place}?{query()}"}, lambda: float(len(store.entries)) * 2)}
        pull = asyncio.create_task(world.pull(entry("a", data, place)))
        await store.until(lambda: [e.status for e in store.entries].count(403) == 3)
        stamps.append(datetime.now(UTC).strftime("%Y%m%dT%H%M%SZ"))
        await pull
    assert world.read("a") == data


async def test_a_mirror_whose_urls_ran_out_is_replaced_by_the_next(serve: Serve, world: World, data: bytes) -> None:
    world.mirrors = IN_ORDER[:2]
    async with serve({"a": data}, rules=[Rule(presigned=True)]) as store, serve({"a": data}) as backup:
        place = store.url("a")
        world.presigners = {"m0": Given(lambda: {place: f"{place}?sig=old"}, lambda: 0.0)}
        await world.pull(entry("a", data, place, backup.url("a")))
    assert world.read("a") == data
