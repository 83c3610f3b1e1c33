"""Several mirrors with real sockets: failure and recovery, corrupt data, and downloads from several at once."""

from __future__ import annotations

import asyncio
import socket
from collections import Counter
from dataclasses import replace
from datetime import UTC, datetime
from random import Random
from urllib.parse import parse_qs

import pytest

from modelferry.checkpoint.api import QuarantinedMirror
from modelferry.checkpoint.worker import CheckpointWorker
from modelferry.cli.inspect import text_lines
from modelferry.engine.mirrors import Mirror
from modelferry.errors import DigestMismatch, DiskError, ProxyDenied, SourceUnavailable
from modelferry.http.auth.presigned import SigV4URLs, StoredURLs
from modelferry.http.auth.sigv4 import Keys
from modelferry.http.proxy.proxies import Proxies, Proxy
from modelferry.http.transport.throttle import Throttle
from modelferry.maintenance.inspection import inspect
from modelferry.manifest import FileEntry, Location
from network.harness import CHUNK, DownloadHarness, Serve, entry
from network.routes import through
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
    """The content of a file of 61 chunks, the last one short."""
    return Random(8).randbytes(60 * CHUNK + 99)


def states(harness: DownloadHarness) -> dict[str, str]:
    """The state of each mirror at the end of the last download."""
    assert harness.progress is not None
    return {mirror.name: mirror.state for mirror in harness.progress.mirrors}


async def test_a_primary_that_fails_is_replaced_and_used_again_after_it_recovers(
    serve: Serve, harness: DownloadHarness, large: bytes
) -> None:
    harness.mirrors, harness.progress_deadline = IN_ORDER[:2], 60.0
    slow = 4 * CHUNK
    async with serve({"a": large}, rate=slow) as backup:
        primary = serve({"a": large}, rate=slow)
        await primary.__aenter__()
        port = primary.port
        pull = asyncio.create_task(harness.pull(entry("a", large, primary.url("a"), backup.url("a"))))
        await primary.until(lambda: len(primary.entries) > 8)
        await primary.__aexit__()
        assert not backup.entries
        await backup.until(lambda: len([e for e in backup.entries if e.sent]) > 4)
        async with serve({"a": large}, rate=slow, port=port) as again:
            result = await pull
            after_recovery = len([e for e in again.entries if e.sent > 1])
        assert after_recovery > 4
        in_flight = harness.connections * CHUNK
        sent = primary.sent() + backup.sent() + again.sent()
    assert harness.read("a") == large
    assert len(large) <= result.fetched <= sent <= len(large) + in_flight + 64
    assert states(harness) == {"m0": "Up", "m1": "Up"}
    assert harness.progress is not None
    assert {m.name: m.fallbacks for m in harness.progress.mirrors} == {"m0": 0, "m1": 1}


async def test_chunks_of_one_file_are_fetched_from_several_mirrors_at_once(
    serve: Serve, harness: DownloadHarness, large: bytes
) -> None:
    harness.mirrors, harness.connections = EQUAL, 6
    async with (
        serve({"a": large}, rate=2 * CHUNK) as one,
        serve({"a": large}, rate=4 * CHUNK) as two,
        serve({"a": large}, rate=8 * CHUNK) as three,
    ):
        origins = one, two, three
        await harness.pull(entry("a", large, *(origin.url("a") for origin in origins)))
        assert all(origin.sent() > 4 * CHUNK for origin in origins)
        assert sum(origin.sent() for origin in origins) == len(large)
    assert harness.read("a") == large


@pytest.mark.parametrize("corrupt", [0, 2])
@pytest.mark.parametrize("spread", ["everywhere", "once"])
async def test_a_mirror_that_serves_corrupt_data_is_quarantined(
    serve: Serve, harness: DownloadHarness, large: bytes, corrupt: int, spread: str
) -> None:
    harness.mirrors, harness.connections = EQUAL, 6
    rules = [Rule(corrupt=n * CHUNK + 5) for n in (range(60) if spread == "everywhere" else range(0, 60, 2))]
    async with (
        serve({"a": large}, rate=16 * CHUNK) as one,
        serve({"a": large}, rate=16 * CHUNK) as two,
        serve({"a": large}, rate=16 * CHUNK) as three,
    ):
        origins = one, two, three
        for rule in rules:
            origins[corrupt].script.add(rule)
        await harness.pull(entry("a", large, *(origin.url("a") for origin in origins)))
        assert sum(origin.sent() for origin in origins) < 3 * len(large)
    assert harness.read("a") == large
    assert states(harness)[f"m{corrupt}"] == "Quarantined"
    assert Counter(states(harness).values()) == {"Quarantined": 1, "Up": 2}


async def test_files_without_a_digest_from_a_quarantined_mirror_are_fetched_again(
    serve: Serve, harness: DownloadHarness, data: bytes
) -> None:
    harness.mirrors = IN_ORDER[:2]
    wrong = bytes(len(data))
    async with serve({"a": data, "b": data}) as correct, serve({"a": wrong, "b": wrong}) as corrupt:
        corrupt.script.add(Rule(path="b", rate=4 * CHUNK))
        await harness.pull(
            entry("a", data, corrupt.url("a"), correct.url("a")),
            entry("b", data, corrupt.url("b"), correct.url("b"), algorithm=None),
        )
    assert (harness.read("a"), harness.read("b")) == (data, data)


async def test_a_wrong_declared_digest_quarantines_no_mirror(
    serve: Serve, harness: DownloadHarness, data: bytes
) -> None:
    harness.mirrors = EQUAL[:2]
    async with serve({"a": data}) as one, serve({"a": data}) as two:
        with pytest.raises(DigestMismatch, match="not the declared one"):
            await harness.pull(entry("a", b"x" * len(data), one.url("a"), two.url("a")))
        assert one.sent() + two.sent() == 2 * len(data)
    assert set(states(harness).values()) == {"Up"}
    assert not harness.published


async def test_a_file_without_a_digest_is_fetched_from_one_mirror(
    serve: Serve, harness: DownloadHarness, large: bytes
) -> None:
    harness.mirrors = EQUAL[:2]
    async with serve({"a": large}) as one, serve({"a": large}) as two:
        await harness.pull(entry("a", large, one.url("a"), two.url("a"), algorithm=None))
        assert sorted((one.sent(), two.sent())) == [0, len(large)]


async def test_a_mirror_that_stops_responding_is_replaced_within_seconds(
    serve: Serve, harness: DownloadHarness, large: bytes, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("modelferry.engine.mirrors.registry.SILENCE", 0.5)
    harness.mirrors = IN_ORDER[:2]
    harness.limits = type(harness.limits)(connect=5.0, head=60.0, stall=60.0, floor=1)
    async with serve({"a": large}) as primary, serve({"a": large}) as backup:
        primary.script.add(Rule(stall=10, first=10))
        primary.script.add(Rule(delay=600.0, first=12))
        await harness.pull(entry("a", large, primary.url("a"), backup.url("a")))
    assert harness.read("a") == large
    assert states(harness)["m0"] == "Down"


async def test_with_every_mirror_down_the_download_waits_and_then_fails(
    serve: Serve, harness: DownloadHarness, data: bytes
) -> None:
    harness.mirrors, harness.progress_deadline = IN_ORDER[:2], 1.5
    async with serve({"a": data}) as one, serve({"a": data}) as two:
        for origin in (one, two):
            origin.script.add(Rule(first=2, status=500))
        with pytest.raises(SourceUnavailable, match=r"no progress for 2 s"):
            await harness.pull(entry("a", data, one.url("a"), two.url("a")))
    assert set(states(harness).values()) == {"Down"}
    assert harness.progress is not None
    assert "all 2 mirrors are down" in harness.progress.message


async def test_a_file_that_a_mirror_lacks_is_fetched_from_the_next(
    serve: Serve, harness: DownloadHarness, data: bytes
) -> None:
    harness.mirrors = IN_ORDER[:2]
    async with serve({"a": data}) as partial, serve({"a": data, "b": data}) as complete:
        files = [entry(path, data, partial.url(path), complete.url(path)) for path in ("a", "b")]
        await harness.pull(*files)
        assert {e.path for e in complete.entries if e.sent > 1} == {"/b"}
    assert states(harness) == {"m0": "Up", "m1": "Up"}


async def test_etags_are_never_compared_across_mirrors(serve: Serve, harness: DownloadHarness, large: bytes) -> None:
    harness.mirrors = EQUAL[:2]
    async with serve({"a": large}, rules=[Rule(etag='"one"')]) as one, serve({"a": large}) as two:
        result = await harness.pull(entry("a", large, one.url("a"), two.url("a")))
        assert one.sent()
        assert two.sent()
    assert result.retries == 0


#: The lifetime of a presigned URL, and the minimum duration of the download, in seconds.
LIFETIME, DURATION = 2, 6


def rates(seconds: float, connections: int, size: int) -> float:
    """The rate of each stream, in bytes per second, with which the download takes `seconds`."""
    return size / seconds / connections


async def test_presigned_urls_that_expire_during_the_download_never_fail(
    serve: Serve, harness: DownloadHarness, large: bytes
) -> None:
    keys = Keys("id", "hush")
    harness.presigners = {"m0": SigV4URLs(keys, "us-east-1", LIFETIME, lambda: datetime.now(UTC))}
    rate = rates(DURATION, harness.connections, len(large))
    async with serve({"b/a": large}, rules=[Rule(presigned=True)], rate=rate) as store:
        result = await harness.pull(entry("a", large, store.url("b/a")))
        signing_times = {parse_qs(e.query)["X-Amz-Date"][0] for e in store.entries}
        assert {e.status for e in store.entries} == {206}
    assert len(signing_times) > DURATION / LIFETIME / 2
    assert result.retries == 0
    assert harness.read("a") == large


async def test_an_expired_presigned_url_is_used_again_after_its_secret_is_updated(
    serve: Serve, harness: DownloadHarness, data: bytes
) -> None:
    """The Secret is updated after the store has refused the URL three times."""
    stamps = ["20200101T000000Z"]

    def query() -> str:
        return f"X-Amz-Date={stamps[-1]}&X-Amz-Expires=600"

    async with serve({"a": data}, rules=[Rule(presigned=True)]) as store:
        location = store.url("a")
        harness.presigners = {
            "m0": StoredURLs(lambda: {location: f"{location}?{query()}"}, lambda: float(len(store.entries)) * 2)
        }
        pull = asyncio.create_task(harness.pull(entry("a", data, location)))
        await store.until(lambda: [e.status for e in store.entries].count(403) == 3)
        stamps.append(datetime.now(UTC).strftime("%Y%m%dT%H%M%SZ"))
        await pull
    assert harness.read("a") == data


async def test_a_mirror_with_expired_urls_is_replaced_by_the_next(
    serve: Serve, harness: DownloadHarness, data: bytes
) -> None:
    harness.mirrors = IN_ORDER[:2]
    async with serve({"a": data}, rules=[Rule(presigned=True)]) as store, serve({"a": data}) as backup:
        location = store.url("a")
        harness.presigners = {"m0": StoredURLs(lambda: {location: f"{location}?sig=old"}, lambda: 0.0)}
        await harness.pull(entry("a", data, location, backup.url("a")))
    assert harness.read("a") == data


async def pull_until_quarantine(
    harness: DownloadHarness, corrupt: HostileOrigin, correct: HostileOrigin, *files: FileEntry
) -> None:
    """Download until the corrupt mirror is quarantined because of the file `a`; then fail. The file `b` is slowed down
    until then."""
    for number in range(len(corrupt.contents["a"]) // CHUNK):
        corrupt.script.add(Rule(path="a", corrupt=number * CHUNK + 5))
    for origin in (corrupt, correct):
        origin.script.add(Rule(path="b", rate=CHUNK))
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(CheckpointWorker, "quarantine", _quarantine_and_fail)
        with pytest.raises(DiskError):
            await harness.pull(*files)
    assert not harness.published
    for origin in (corrupt, correct):
        origin.script.clear()
        origin.received.clear()


def _quarantine_and_fail(worker: CheckpointWorker, found: QuarantinedMirror) -> None:
    worker.chunk_store.quarantine(worker.manifest.revision, found)
    raise DiskError("power failure")


async def test_a_quarantine_persists_after_a_restart(
    serve: Serve, harness: DownloadHarness, data: bytes, large: bytes
) -> None:
    harness.mirrors, contents = IN_ORDER[:2], {"a": data, "b": large}
    async with serve(contents) as corrupt, serve(contents) as correct:
        files = [entry(path, content, corrupt.url(path), correct.url(path)) for path, content in contents.items()]
        await pull_until_quarantine(harness, corrupt, correct, *files)
        expected = f"  quarantined: m0, which served wrong bytes of a ({corrupt.url('a')})"
        assert expected in text_lines(inspect(harness.directory))
        await harness.pull(*files)
        assert correct.received
        assert not corrupt.received
    assert harness.read("b") == large
    assert states(harness) == {"m0": "Quarantined", "m1": "Up"}
    assert harness.progress is not None
    assert harness.progress.mirrors[0].message == "served wrong bytes of a"


@pytest.mark.parametrize("changed", ["name", "url"])
async def test_a_quarantine_ends_when_the_mirror_gets_another_name_or_url(
    serve: Serve, harness: DownloadHarness, data: bytes, large: bytes, changed: str
) -> None:
    harness.mirrors, contents = IN_ORDER[:2], {"a": data, "b": large}
    async with serve(contents) as corrupt, serve(contents) as correct:
        files = [entry(path, content, corrupt.url(path), correct.url(path)) for path, content in contents.items()]
        await pull_until_quarantine(harness, corrupt, correct, *files)
        name, prefix = ("renamed", "") if changed == "name" else ("m0", "new/")
        harness.mirrors = (Mirror(name, 0), Mirror("m1", 1))
        corrupt.contents |= {f"new/{path}": content for path, content in contents.items()}
        locations = {file.path: Location(corrupt.url(f"{prefix}{file.path}"), name) for file in files}
        await harness.pull(*(replace(file, locations=(locations[file.path], file.locations[1])) for file in files))
        assert len(corrupt.received) > 1
    assert set(states(harness).values()) == {"Up"}


async def test_files_without_a_digest_from_a_quarantined_mirror_are_fetched_again_after_a_restart(
    serve: Serve, harness: DownloadHarness, data: bytes
) -> None:
    """The first process ends before it restarts the other file."""
    harness.mirrors, wrong = IN_ORDER[:2], bytes(len(data))
    async with serve({"a": data, "b": wrong}) as corrupt, serve({"a": data, "b": data}) as correct:
        files = [
            entry("a", data, corrupt.url("a"), correct.url("a")),
            entry("b", data, corrupt.url("b"), correct.url("b"), algorithm=None),
        ]
        await pull_until_quarantine(harness, corrupt, correct, *files)
        await harness.pull(*files)
        assert not corrupt.received
    assert (harness.read("a"), harness.read("b")) == (data, data)


async def test_each_mirror_keeps_its_own_limit_and_the_others_serve_the_rest(
    serve: Serve, harness: DownloadHarness, large: bytes
) -> None:
    """Checked by the tokens of the bucket."""
    harness.mirrors, harness.throttle = EQUAL[:2], Throttle(4)
    harness.throttle.set_mirrors({"m0": 16 * CHUNK})
    async with serve({"a": large}) as limited, serve({"a": large}, rate=8 * CHUNK) as free:
        before = asyncio.get_running_loop().time()
        result = await harness.pull(entry("a", large, limited.url("a"), free.url("a")))
        duration = asyncio.get_running_loop().time() - before
        # The bucket grants the rate times the duration, and a burst of a tenth of a second.
        assert limited.sent() <= 16 * CHUNK * (duration + 0.1)
        assert limited.sent() > 2 * CHUNK
        assert free.sent() > 2 * CHUNK
    assert harness.read("a") == large
    assert result.retries == 0


@pytest.mark.parametrize("fields", [(), (("Accept-Ranges", "none"),)])
async def test_a_mirror_that_ignores_ranges_is_skipped_and_the_file_is_fetched_in_chunks(
    serve: Serve, harness: DownloadHarness, large: bytes, fields: tuple[tuple[str, str], ...]
) -> None:
    harness.mirrors, contents = IN_ORDER[:2], {"a": large, "b": large}
    ignoring = [Rule(ignore_range=True, fields=fields)]
    async with serve(contents, rules=ignoring) as bad, serve(contents) as good:
        await harness.pull(*(entry(path, large, bad.url(path), good.url(path)) for path in contents))
        assert {e.status for e in good.entries} == {206}
        assert good.sent() == 2 * len(large)
    assert states(harness) == {"m0": "Up", "m1": "Up"}


async def test_a_mirror_that_ignores_ranges_is_skipped_for_files_without_a_digest_too(
    serve: Serve, harness: DownloadHarness, large: bytes
) -> None:
    harness.mirrors = IN_ORDER[:2]
    async with serve({"a": large}, rules=[Rule(ignore_range=True)]) as bad, serve({"a": large}) as good:
        await harness.pull(entry("a", large, bad.url("a"), good.url("a"), algorithm=None))
        assert good.sent() == len(large)
    assert harness.read("a") == large


async def test_a_mirror_that_ignores_ranges_is_used_when_the_others_are_down(
    serve: Serve, harness: DownloadHarness, data: bytes
) -> None:
    harness.mirrors = IN_ORDER[:2]
    async with serve({"a": data}, rules=[Rule(ignore_range=True)]) as bad, serve({"a": data}) as good:
        good.script.add(Rule(status=500))
        await harness.pull(entry("a", data, bad.url("a"), good.url("a")))
        assert not [e for e in good.entries if e.status == 206]
    assert harness.read("a") == data
    assert states(harness)["m1"] == "Down"


async def test_each_mirror_is_reached_through_its_own_proxy_and_never_directly(
    serve: Serve, harness: DownloadHarness, large: bytes, squid: Squid, dante: Dante
) -> None:
    harness.mirrors, harness.connections = EQUAL[:2], 4
    harness.mirror_proxies = {"m0": through(squid.url), "m1": through(dante.url)}
    async with serve({"a": large}, rate=16 * CHUNK) as one, serve({"a": large}, rate=16 * CHUNK) as two:
        await harness.pull(entry("a", large, one.url("a"), two.url("a")))
        assert (one.peers, two.peers) == ({squid.outgoing}, {dante.outgoing})
        assert one.sent() > CHUNK
        assert two.sent() > CHUNK
    assert harness.read("a") == large


async def test_a_mirror_whose_proxy_fails_is_down_and_never_reached_directly(
    serve: Serve, harness: DownloadHarness, data: bytes, squid: Squid
) -> None:
    """Neither for chunks nor for probes. The other mirror is reached through its own proxy."""
    harness.mirrors = IN_ORDER[:2]
    harness.mirror_proxies = {"m0": through("http://127.0.0.1:9"), "m1": through(squid.url)}
    async with serve({"a": data}) as first, serve({"a": data}, rate=CHUNK) as second:
        await harness.pull(entry("a", data, first.url("a"), second.url("a")))
        assert first.accepted == 0
        assert second.peers == {squid.outgoing}
    assert states(harness) == {"m0": "Down", "m1": "Up"}
    assert harness.progress is not None
    assert "proxy http://127.0.0.1:9" in harness.progress.mirrors[0].message


@pytest.mark.parametrize("kind", ["squid", "dante"])
async def test_missing_proxy_credentials_are_reported_with_the_mirrors_own_field(
    serve: Serve, harness: DownloadHarness, data: bytes, request: pytest.FixtureRequest, kind: str
) -> None:
    url = request.getfixturevalue(kind).url
    proxy = replace(Proxy.parse(url), spec_field="spec.mirrors[m0].proxy")
    harness.mirror_proxies = {"m0": Proxies(proxy, proxy)}
    async with serve({"a": data}) as origin:
        with pytest.raises(ProxyDenied, match=r"give them by a Secret that spec\.mirrors\[m0\]\.proxy\.auth names"):
            await harness.pull(entry("a", data, origin.url("a")))
        assert origin.accepted == 0


async def test_a_mirror_stays_up_when_one_address_is_dead_and_the_name_then_moves(
    serve: Serve, harness: DownloadHarness, large: bytes, monkeypatch: pytest.MonkeyPatch
) -> None:
    """During one download: first a dead address before a working one, then other addresses."""
    dead = ("127.0.0.9", 9)
    async with serve({"a": large}, rate=8 * CHUNK) as before, serve({"a": large}) as after:
        answers = [[dead, ("127.0.0.1", before.port)]]
        names: list[str] = []

        async def resolve(self: object, host: str, port: int, **_: object) -> list[object]:
            names.append(host)
            kind = socket.AF_INET, socket.SOCK_STREAM, socket.IPPROTO_TCP, ""
            return [(*kind, address) for address in answers[-1]]

        monkeypatch.setattr(asyncio.BaseEventLoop, "getaddrinfo", resolve)
        pull = asyncio.create_task(harness.pull(entry("a", large, "https://localhost:4443/a")))
        await before.until(lambda: len(before.entries) > 8)
        answers.append([dead, ("127.0.0.1", after.port)])
        await before.__aexit__()
        await pull
        assert before.sent() < len(large)
        assert after.sent() > CHUNK
    assert harness.read("a") == large
    assert set(names) == {"localhost"}
