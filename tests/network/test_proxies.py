"""Through a real squid and a real dante: with their credentials, never past them."""

from __future__ import annotations

import asyncio
import hashlib
import json
import os
import ssl
import sys
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from contextlib import asynccontextmanager, suppress
from dataclasses import replace
from pathlib import Path
from urllib.parse import urlsplit

import pytest

from modelferry.errors import (
    CertificateRefused,
    ModelferryError,
    ProxyDenied,
    ProxyRefused,
    ProxyUnreachable,
    SourceUnavailable,
)
from modelferry.http.proxy.proxies import Proxies, Proxy
from modelferry.http.routes import Route
from modelferry.http.tls.contexts import client_context
from modelferry.http.tls.pinning import pins_of
from modelferry.sources.retry import Retry
from modelferry.sources.source_client import SourceClient
from network.conftest import INNER
from network.harness import CHUNK, DownloadHarness, Serve, entry
from network.routes import through
from origin.certs import Authority, Leaf
from origin.listener import Listener
from origin.proxies import BLOCKED_PORT, PASSWORD, USERNAME, Dante, Squid
from origin.rules import Rule
from origin.server import HostileOrigin

pytestmark = pytest.mark.usefixtures("small_chunks")

AnyProxy = Squid | Dante


@pytest.fixture(params=["squid", "dante"])
def proxy(request: pytest.FixtureRequest) -> Iterator[AnyProxy]:
    """One after the other, each running before and after."""
    found: AnyProxy = request.getfixturevalue(request.param)
    yield found
    found.start()


@pytest.fixture
def asked_names(monkeypatch: pytest.MonkeyPatch) -> set[str]:
    """The names that this process asks the system for."""
    asked: set[str] = set()

    async def resolve(self: asyncio.BaseEventLoop, host: str, *args: object, **more: object) -> object:
        asked.add(host)
        return await resolved(self, host, *args, **more)

    resolved: Callable[..., Awaitable[object]] = asyncio.BaseEventLoop.getaddrinfo
    monkeypatch.setattr(asyncio.BaseEventLoop, "getaddrinfo", resolve)
    return asked


async def resolve_size(harness: DownloadHarness, url: str, *, budget: float = 5.0, plain_http: bool = False) -> str:
    """What a source's client says of `url`, on the way of `harness`."""
    route = Route(client_context(harness.ca_file, pins=()), harness.credential, harness.proxies)
    async with SourceClient(route, retry=Retry(budget), allow_plain_http=plain_http) as client:
        return str(await client.head(url, "a", {"Range": "bytes=0-0"}))


async def both_fail(
    harness: DownloadHarness, kind: type[ModelferryError], says: str, url: str, data: bytes
) -> list[str]:
    """Engine and source end with `kind`, and the same words; neither shows the password."""
    harness.progress_deadline = 0.5
    with pytest.raises(kind, match=says) as fetching:
        await harness.pull(entry("a", data, url))
    with pytest.raises(kind, match=says) as resolving:
        await resolve_size(harness, url, budget=0.5, plain_http=harness.allow_plain_http)
    for caught in (fetching, resolving):
        assert caught.value.file == "a"
        assert PASSWORD not in caught.value.message
    return [fetching.value.reason, resolving.value.reason]


async def connected(origin: HostileOrigin, count: int) -> None:
    """Wait for `count` connections."""
    async with asyncio.timeout(20):
        await origin.until(lambda: origin.accepted >= count)


async def test_a_name_that_only_the_proxy_can_resolve(
    serve: Serve, harness: DownloadHarness, data: bytes, inner_leaf: Leaf, proxy: AnyProxy, asked_names: set[str]
) -> None:
    harness.proxies = through(proxy.url)
    async with serve({"a": data}, tls=inner_leaf.context()) as origin:
        url = origin.url("a").replace("127.0.0.1", INNER)
        assert await resolve_size(harness, url) == "206 Partial Content"
        await harness.pull(entry("a", data, url))
        assert origin.peers == {proxy.outgoing}
    assert harness.read("a") == data
    assert asked_names == {"127.0.0.1"}
    if isinstance(proxy, Squid):
        assert f"CONNECT {urlsplit(url).netloc} {USERNAME}" in proxy.log


async def test_plain_http_is_forwarded_by_squid_and_tunnelled_by_dante(
    serve: Serve, harness: DownloadHarness, data: bytes, proxy: AnyProxy
) -> None:
    harness.proxies, harness.allow_plain_http = through(proxy.url), True
    async with serve({"a": data}, tls=None) as origin:
        url = origin.url("a").replace("127.0.0.1", INNER)
        assert await resolve_size(harness, url, plain_http=True) == "206 Partial Content"
        await harness.pull(entry("a", data, url))
        assert origin.peers == {proxy.outgoing}
        assert not {name for asked in origin.received for name, _ in asked.fields} & {"proxy-authorization"}
    assert harness.read("a") == data
    if isinstance(proxy, Squid):
        assert f"GET {url} {USERNAME}" in proxy.log
        assert f"CONNECT {urlsplit(url).netloc}" not in proxy.log


@pytest.mark.parametrize(
    ("credentials", "says"), [((USERNAME, "wrong"), "does not accept the user"), (("", ""), "requires a user")]
)
async def test_wrong_and_missing_credentials_are_reported(
    serve: Serve, harness: DownloadHarness, data: bytes, proxy: AnyProxy, credentials: tuple[str, str], says: str
) -> None:
    harness.proxies = through(proxy.url, *credentials)
    async with serve({"a": data}) as origin:
        reasons = await both_fail(harness, ProxyDenied, f"proxy {proxy.url} {says}", origin.url("a"), data)
        assert origin.accepted == 0
    assert set(reasons) == {"ProxyDenied"}


async def test_a_407_to_a_forwarded_request_is_an_error_of_the_proxy(
    serve: Serve, harness: DownloadHarness, data: bytes, squid: Squid
) -> None:
    harness.proxies, harness.allow_plain_http = through(squid.url, USERNAME, "wrong"), True
    async with serve({"a": data}, tls=None) as origin:
        await both_fail(harness, ProxyDenied, r"does not accept the user name or password.*407", origin.url("a"), data)
        assert origin.accepted == 0


async def test_a_destination_that_the_proxy_forbids_fails_at_once(
    harness: DownloadHarness, data: bytes, proxy: AnyProxy
) -> None:
    harness.proxies, harness.allow_plain_http = through(proxy.url), True
    url = f"https://127.0.0.1:{BLOCKED_PORT}/a"
    await both_fail(harness, ProxyRefused, f"proxy {proxy.url} denied access to 127.0.0.1:{BLOCKED_PORT}", url, data)
    if isinstance(proxy, Squid):
        plain = url.replace("https", "http")
        await both_fail(harness, ProxyRefused, "denied access to .*403 Forbidden, ERR_ACCESS_DENIED", plain, data)


async def test_a_server_that_the_proxy_cannot_reach_is_retried(
    harness: DownloadHarness, data: bytes, proxy: AnyProxy
) -> None:
    harness.proxies = through(proxy.url)
    says = f"proxy {proxy.url} cannot reach 127.0.0.1:1 .*(503|refused)"
    assert await both_fail(harness, ProxyRefused, says, "https://127.0.0.1:1/a", data) == ["ProxyRefused"] * 2


async def test_a_proxy_that_is_down_is_named_and_not_bypassed(
    serve: Serve, harness: DownloadHarness, data: bytes, proxy: AnyProxy
) -> None:
    harness.proxies = through(proxy.url)
    proxy.kill()
    async with serve({"a": data}) as origin:
        says = f"cannot be reached through the proxy {proxy.url}: Connection refused"
        assert await both_fail(harness, ProxyUnreachable, says, origin.url("a"), data) == ["ProxyUnreachable"] * 2
        assert origin.accepted == 0
    assert issubclass(ProxyUnreachable, SourceUnavailable)


async def test_a_proxy_that_fails_during_the_download_is_retried_and_used_again(
    serve: Serve, harness: DownloadHarness, data: bytes, proxy: AnyProxy
) -> None:
    harness.proxies, harness.progress_deadline = through(proxy.url), 60.0
    # Each answer is held back in its middle, so that the proxy dies under all of them.
    async with serve({"a": data}, rules=[Rule(stall=CHUNK // 2, times=4)]) as origin:
        pull = asyncio.create_task(harness.pull(entry("a", data, origin.url("a"))))
        async with asyncio.timeout(30):
            await connected(origin, 2)
            await asyncio.to_thread(proxy.kill)
            before = origin.accepted
            await asyncio.to_thread(proxy.start)
            await pull
        assert origin.accepted > before
        assert origin.peers == {proxy.outgoing}
    assert harness.read("a") == data


async def test_hosts_of_noproxy_are_reached_directly(
    serve: Serve, harness: DownloadHarness, data: bytes, squid: Squid
) -> None:
    squid.kill()
    try:
        harness.proxies = through(squid.url, USERNAME, PASSWORD, "127.0.0.0/8")
        async with serve({"a": data}) as origin:
            assert await resolve_size(harness, origin.url("a")) == "206 Partial Content"
            await harness.pull(entry("a", data, origin.url("a")))
            assert origin.peers == {"127.0.0.1"}
    finally:
        squid.start()


# The command, as a user runs it.


async def modelferry(*words: str | Path, **environment: str) -> tuple[int, str]:
    """Run the command; its exit code, and all that it printed."""
    clean = {name: value for name, value in os.environ.items() if not name.lower().endswith("_proxy")}
    process = await asyncio.create_subprocess_exec(
        *(str(Path(sys.executable).with_name("modelferry")), *map(str, words)),
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.STDOUT,
        env=clean | environment,
    )
    out, _ = await process.communicate()
    return process.returncode or 0, out.decode()


def written(directory: Path, url: str, data: bytes, **transfer: object) -> Path:
    """An artifact of one file."""
    file = {"path": "a", "url": url, "sha256": hashlib.sha256(data).hexdigest()}
    spec = {"source": {"http": {"files": [file]}}, "transfer": transfer}
    head = {"apiVersion": "modelferry.dev/v1alpha1", "kind": "ModelArtifact", "metadata": {"name": "m"}}
    path = directory / "model.json"
    path.write_text(json.dumps(head | {"spec": spec}))
    return path


async def test_pull_and_repair_through_the_environments_proxy(
    serve: Serve, harness: DownloadHarness, data: bytes, inner_leaf: Leaf, tmp_path: Path, proxy: AnyProxy
) -> None:
    by = {"https_proxy": proxy.url.replace("://", f"://{USERNAME}:{PASSWORD}@")}
    async with serve({"a": data}, tls=inner_leaf.context()) as origin:
        artifact = written(tmp_path, origin.url("a").replace("127.0.0.1", INNER), data)
        trust = ("--ca-file", harness.ca_file)
        code, said = await modelferry("pull", artifact, "--to", tmp_path / "m", *trust, **by)
        assert code == 0, said
        harness.corrupt(tmp_path / "m/current/a", 5)
        code, said = await modelferry("verify", tmp_path / "m", "--repair", artifact, *trust, **by)
        assert (code, "1 file repaired" in said) == (0, True), said
        assert origin.peers == {proxy.outgoing}
    assert (tmp_path / "m/current/a").read_bytes() == data


async def test_the_specs_proxy_takes_precedence_over_the_environment(
    serve: Serve, harness: DownloadHarness, data: bytes, tmp_path: Path, proxy: AnyProxy
) -> None:
    secret = tmp_path / "secrets/proxy"
    secret.mkdir(parents=True)
    (secret / "username").write_text(USERNAME)
    (secret / "password").write_text(PASSWORD)
    async with serve({"a": data}) as origin:
        own = {"url": proxy.url, "auth": {"secretRef": {"name": "proxy"}}}
        artifact = written(tmp_path, origin.url("a"), data, proxy=own)
        words = ("--to", tmp_path / "m", "--ca-file", harness.ca_file, "--secrets", tmp_path / "secrets")
        code, said = await modelferry("pull", artifact, *words, all_proxy="http://127.0.0.1:1", no_proxy="*")
        assert code == 0, said
        assert origin.peers == {proxy.outgoing}
        assert PASSWORD not in said


# TLS to the proxy itself, and the origin's TLS within it.


def veiled(squid: Squid, context: ssl.SSLContext) -> Proxies:
    """squid, by TLS."""
    proxies = through(squid.tls_url)
    proxy = replace(proxies.https, context=context) if proxies.https else None
    return replace(proxies, http=proxy, https=proxy)


def pin_of(leaf: Leaf) -> str:
    """Of its public key."""
    return pins_of(ssl.PEM_cert_to_DER_cert(leaf.cert.read_text()))[1]


async def test_tls_within_tls(serve: Serve, harness: DownloadHarness, data: bytes, leaf: Leaf, squid: Squid) -> None:
    harness.proxies = veiled(squid, client_context(harness.ca_file, pins=(pin_of(leaf),)))
    async with serve({"a": data}) as origin:
        assert await resolve_size(harness, origin.url("a")) == "206 Partial Content"
        await harness.pull(entry("a", data, origin.url("a")))
        assert origin.peers == {squid.outgoing}
    async with serve({"b": data}, tls=None) as plain:
        harness.allow_plain_http = True
        await harness.pull(entry("b", data, plain.url("b")))
        assert plain.peers == {squid.outgoing}
    assert harness.read("b") == data


async def test_the_origins_certificate_is_verified_through_the_proxy(
    harness: DownloadHarness, data: bytes, tmp_path: Path, squid: Squid
) -> None:
    harness.proxies = veiled(squid, client_context(harness.ca_file))
    stranger = Authority(tmp_path, "other").leaf("127.0.0.1")
    async with HostileOrigin({"a": data}, tls=stranger.context()) as origin:
        assert (
            await both_fail(harness, CertificateRefused, "127.0.0.1", origin.url("a"), data) == ["UnknownAuthority"] * 2
        )
        assert not origin.entries


@pytest.mark.parametrize("kind", ["not pinned", "another authority's"])
async def test_a_proxy_with_an_invalid_certificate_gets_no_credentials(
    serve: Serve, harness: DownloadHarness, data: bytes, squid: Squid, kind: str
) -> None:
    if kind == "not pinned":
        context, says = client_context(harness.ca_file, pins=("sha256/" + "A" * 43 + "=",)), "proxy.pins"
    else:
        context, says = client_context(), "trusted CA bundle"
    harness.proxies = veiled(squid, context)
    before = squid.log.count("CONNECT")
    async with serve({"a": data}) as origin:
        reasons = await both_fail(harness, CertificateRefused, f"proxy {squid.tls_url}.*{says}", origin.url("a"), data)
        assert origin.accepted == 0
    assert set(reasons) == {"PinMismatch" if kind == "not pinned" else "UnknownAuthority"}
    assert squid.log.count("CONNECT") == before


# Proxies that do not know what they say.


@asynccontextmanager
async def saying(answer: bytes, *, wait: bool = False) -> AsyncIterator[str]:
    """``host:port`` of a server that answers whatever comes by `answer`, and ends, unless it is to `wait`."""

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        with suppress(OSError, asyncio.CancelledError):
            await reader.read(1000)
            writer.write(answer)
            await writer.drain()
            if wait:
                await reader.read()
        writer.transport.abort()

    async with Listener(serve) as server:
        yield f"127.0.0.1:{server.port}"


@pytest.mark.parametrize(
    ("scheme", "answer", "kind", "says"),
    [
        ("http", b"SSH-2.0-OpenSSH\r\n", ProxyRefused, "answers CONNECT with no HTTP response"),
        ("http", b"HTTP/1.1 200 OK\r\n\r\nHello", ProxyRefused, "bytes before any request"),
        ("http", b"", ProxyUnreachable, "closed the connection before the tunnel was open|reset"),
        ("http", b"HTTP/1.1 200 OK\r\nA: ", ProxyUnreachable, "closed the connection before the tunnel was open|reset"),
        ("http", b"HTTP/1.1 407 No\r\nProxy-Authenticate: NTLM\r\n\r\n", ProxyDenied, "accepts only NTLM"),
        ("socks5h", b"HTTP/1.1 400 Bad Request\r\n\r\n", ProxyRefused, "does not speak SOCKS5"),
        ("socks5h", b"\x05\x80", ProxyRefused, "a method that was not offered"),
        ("socks5h", b"\x05", ProxyUnreachable, "closed the connection before the tunnel was open|reset"),
        ("https", b"HTTP/1.1 400 Bad Request\r\n\r\n", CertificateRefused, "does not speak TLS on this port"),
    ],
)
async def test_a_server_that_is_no_proxy_is_reported(
    serve: Serve,
    harness: DownloadHarness,
    data: bytes,
    scheme: str,
    answer: bytes,
    kind: type[ModelferryError],
    says: str,
) -> None:
    async with saying(answer) as address, serve({"a": data}) as origin:
        proxy = Proxy.parse(f"{scheme}://{address}")
        proxy = replace(proxy, context=client_context(harness.ca_file)) if scheme == "https" else proxy
        harness.proxies = Proxies(proxy, proxy)
        await both_fail(harness, kind, f"the proxy {scheme}://{address}.*({says})", origin.url("a"), data)
        assert origin.accepted == 0


@pytest.mark.parametrize("scheme", ["http", "socks5h"])
async def test_a_proxy_that_never_answers_is_named(harness: DownloadHarness, data: bytes, scheme: str) -> None:
    harness.limits, harness.progress_deadline = replace(harness.limits, connect=0.2), 0.5
    async with saying(b"", wait=True) as address:
        proxy = Proxy.parse(f"{scheme}://{address}")
        harness.proxies = Proxies(proxy, proxy)
        with pytest.raises(SourceUnavailable, match=f"through the proxy {scheme}://{address}"):
            await harness.pull(entry("a", data, "https://127.0.0.1:1/a"))
