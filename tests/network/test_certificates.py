"""A server that cannot prove who it is gets no request."""

from __future__ import annotations

import asyncio
import ssl
from dataclasses import replace
from datetime import timedelta
from pathlib import Path

import pytest

from modelferry.agent import mirror_routes
from modelferry.agent.secrets import Secrets
from modelferry.checkpoint.local import LocalCheckpoint
from modelferry.engine.download.coordinator import DownloadCoordinator, Settings
from modelferry.errors import CertificateRefused
from modelferry.http.client import HTTPClient
from modelferry.http.proxy.proxies import Proxies, Proxy
from modelferry.http.routes import Route, Routes
from modelferry.http.tls.contexts import client_context
from modelferry.manifest import Location
from modelferry.manifest.entries import SOURCE, content_addressed
from modelferry.resource.parse import parse_artifact
from modelferry.sources.retry import Retry
from modelferry.sources.source_client import SourceClient
from network.harness import DownloadHarness, Serve, entry
from network.test_proxies import both_fail
from origin.certs import Authority, Leaf
from origin.handshakes import refusing
from origin.listener import Listener
from origin.server import HostileOrigin


@pytest.mark.parametrize(
    ("kind", "reason"),
    [
        ("expired", "CertificateExpired"),
        ("not yet", "ClockSkew"),
        ("another host", "HostMismatch"),
        ("another authority", "UnknownAuthority"),
    ],
)
async def test_the_reason_is_reported(
    tmp_path: Path, harness: DownloadHarness, authority: Authority, kind: str, reason: str
) -> None:
    day = timedelta(days=1)
    context = {
        "expired": lambda: authority.leaf("127.0.0.1", name="expired", begins=-2 * day, ends=-day).context(),
        "not yet": lambda: authority.leaf("127.0.0.1", name="early", begins=day, ends=2 * day).context(),
        "another host": lambda: authority.leaf("example.com", name="host").context(),
        "another authority": lambda: Authority(tmp_path, "other").leaf("127.0.0.1").context(),
    }[kind]()
    async with HostileOrigin({"a": b"secret"}, tls=context) as origin:
        with pytest.raises(CertificateRefused) as caught:
            await harness.pull(entry("a", b"secret", origin.url("a")))
        assert not origin.entries
        assert origin.accepted <= 1
    assert caught.value.reason == reason
    assert caught.value.message.startswith("a: 127.0.0.1")
    assert not harness.published


async def test_a_server_without_tls_is_reported(harness: DownloadHarness) -> None:
    async def complain(_: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writer.write(b"HTTP/1.1 400 Bad Request\r\nConnection: close\r\n\r\n")

    async with Listener(complain) as server:
        with pytest.raises(CertificateRefused, match="does not speak TLS on this port") as caught:
            await harness.pull(entry("a", b"x", f"https://127.0.0.1:{server.port}/a"))
    assert caught.value.reason == "TLSVersion"


async def test_a_server_below_tls_1_3_is_reported(harness: DownloadHarness, leaf: Leaf) -> None:
    context = leaf.context()
    context.minimum_version = context.maximum_version = ssl.TLSVersion.TLSv1_2
    with (
        refusing(context) as server,
        pytest.raises(CertificateRefused, match=r"no version of TLS that is allowed here") as caught,
    ):
        await harness.pull(entry("a", b"x", f"https://{server}/a"))
    assert caught.value.reason == "TLSVersion"


#: Why a server is not trusted -> the reason that is told.
REASONS = {
    "expired": "CertificateExpired",
    "not yet": "ClockSkew",
    "another host": "HostMismatch",
    "another authority": "UnknownAuthority",
    "an old version": "TLSVersion",
    "not pinned": "PinMismatch",
}
OTHER_PIN = "sha256/" + "A" * 43 + "="


def untrusted(kind: str, authority: Authority, directory: Path) -> ssl.SSLContext:
    """For a server that is not trusted; one that is not pinned is right but for that."""
    day = timedelta(days=1)
    match kind:
        case "expired":
            return authority.leaf("127.0.0.1", name="expired", begins=-2 * day, ends=-day).context()
        case "not yet":
            return authority.leaf("127.0.0.1", name="early", begins=day, ends=2 * day).context()
        case "another host":
            return authority.leaf("example.com", name="host").context()
        case "another authority":
            return Authority(directory, "other").leaf("127.0.0.1").context()
    context = authority.leaf("127.0.0.1", name="right").context()
    if kind == "an old version":
        context.minimum_version = context.maximum_version = ssl.TLSVersion.TLSv1_2
    return context


def pins(kind: str) -> tuple[str, ...]:
    return (OTHER_PIN,) if kind == "not pinned" else ()


@pytest.mark.parametrize("kind", REASONS)
async def test_engine_and_source_report_the_same_error(
    harness: DownloadHarness, authority: Authority, tmp_path: Path, kind: str
) -> None:
    harness.pins = pins(kind)
    with refusing(untrusted(kind, authority, tmp_path)) as server:
        url = f"https://{server}/a"
        with pytest.raises(CertificateRefused) as fetching:
            await harness.pull(entry("a", b"x", url))
        async with SourceClient(Route(client_context(harness.ca_file, pins=harness.pins)), retry=Retry(1.0)) as client:
            with pytest.raises(CertificateRefused) as asking:
                await client.head(url, "a")
    assert [fetching.value.reason, asking.value.reason] == [REASONS[kind]] * 2
    for caught in (fetching, asking):
        assert "127.0.0.1" in caught.value.message
        assert (" and neither is pinned" in caught.value.message) == (kind == "not pinned")


@pytest.mark.parametrize("kind", REASONS)
async def test_the_proxys_certificate_has_the_same_reasons(
    serve: Serve, harness: DownloadHarness, authority: Authority, tmp_path: Path, data: bytes, kind: str
) -> None:
    with refusing(untrusted(kind, authority, tmp_path)) as server:
        async with serve({"a": data}) as origin:
            context = client_context(harness.ca_file, pins=pins(kind))
            proxy = replace(Proxy.parse(f"https://{server}"), username="u", password="p", context=context)
            harness.proxies = Proxies(proxy, proxy)
            reasons = await both_fail(harness, CertificateRefused, f"the proxy https://{server}", origin.url("a"), data)
            assert origin.accepted == 0
    assert reasons == [REASONS[kind]] * 2


@pytest.mark.parametrize("kind", REASONS)
async def test_an_untrusted_mirror_is_down_at_once_with_the_reason(
    serve: Serve, harness: DownloadHarness, authority: Authority, tmp_path: Path, data: bytes, kind: str
) -> None:
    with refusing(untrusted(kind, authority, tmp_path)) as server:
        async with serve({"a": data}) as origin:
            mirror: dict[str, object] = {"name": "lab", "url": f"https://{server}/{{path}}"}
            spec = parse_artifact(
                {
                    "apiVersion": "modelferry.dev/v1alpha1",
                    "kind": "ModelArtifact",
                    "metadata": {"name": "m"},
                    "spec": {
                        "source": {"http": {"files": [{"path": "a", "url": origin.url("a")}]}},
                        "mirrors": [mirror | {"tls": {"pins": list(pins(kind))}}],
                    },
                }
            ).spec
            route, secrets = Route(client_context(harness.ca_file)), Secrets(None)
            file = replace(entry("a", data, origin.url("a")), locations=(Location(origin.url("a"), SOURCE),))
            manifest = mirror_routes.add_locations(content_addressed((file,)), spec, secrets)
            roads = Routes(route, mirror_routes.mirror_routes(spec, route, [harness.ca_file], secrets, {}, manifest))
            checkpoint = LocalCheckpoint(harness.directory)
            settings = Settings(4, mirrors=mirror_routes.engine_mirrors(spec))
            fetcher = DownloadCoordinator(
                manifest, checkpoint, HTTPClient(roads, harness.limits), settings, jitter=lambda: -0.98
            )
            await fetcher.run()
            await checkpoint.close()
    assert harness.read("a") == data
    lab = next(one for one in fetcher.telemetry().mirrors if one.name == "lab")
    assert lab.state == "Down"
    assert lab.message.startswith(f"{REASONS[kind]}: 127.0.0.1:")
    if kind == "an old version":
        assert "spec.mirrors[lab].tls.minVersion" in lab.message
