"""Client certificates against real servers that ask for them: shown to the hosts they are meant for, to no others."""

from __future__ import annotations

import json
import ssl
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from modelferry.agent.secrets import Secrets
from modelferry.agent.source_route import source_routes
from modelferry.checkpoint.local import LocalCheckpoint
from modelferry.engine.download.coordinator import DownloadCoordinator, Settings
from modelferry.errors import CertificateRefused
from modelferry.http.client import HTTPClient
from modelferry.http.routes import Routes
from modelferry.manifest.entries import SOURCE, content_addressed
from modelferry.resource.parse import parse_artifact
from modelferry.sources.retry import Retry
from modelferry.sources.source_client import SourceClient
from network.harness import DownloadHarness, Serve, entry
from network.test_proxies import modelferry
from origin.certs import CLIENT, Authority, Leaf
from origin.handshakes import refusing
from origin.nginx import Nginx
from origin.rules import Rule
from origin.server import HostileOrigin

pytestmark = pytest.mark.usefixtures("small_chunks")

SECRET = {"clientCertificate": {"secretRef": {"name": "who"}}}


@pytest.fixture
def clients(tmp_path: Path) -> Authority:
    """Whose client certificates the servers take: not the authority that signed theirs."""
    return Authority(tmp_path, "clients")


@pytest.fixture
def known(clients: Authority, tmp_path: Path) -> Leaf:
    """A certificate of ours, in the Secret `who`."""
    leaf = clients.leaf("model-reader", name="known", purpose=CLIENT)
    leaf.secret(tmp_path / "secrets" / "who")
    return leaf


@pytest.fixture
def nginx(tmp_path: Path, leaf: Leaf, clients: Authority, data: bytes) -> Iterator[Nginx]:
    """Serves a file `a` to those that show a certificate."""
    (tmp_path / "served").mkdir()
    (tmp_path / "served" / "a").write_bytes(data)
    with Nginx(tmp_path / "served", leaf=leaf, clients=clients.ca_file) as nginx:
        yield nginx


@pytest.fixture
def demanding(leaf: Leaf, clients: Authority) -> ssl.SSLContext:
    """For a server that ends the handshake by an alert where it is shown no certificate, or none that it takes."""
    context = leaf.context()
    context.verify_mode = ssl.CERT_REQUIRED
    context.load_verify_locations(clients.ca_file)
    return context


def document(url: str, tls: dict[str, Any], **spec: Any) -> dict[str, Any]:
    """An artifact of the one file `url`."""
    head = {"apiVersion": "modelferry.dev/v1alpha1", "kind": "ModelArtifact", "metadata": {"name": "m"}}
    source = {"http": {"files": [{"path": "a", "url": url}]}}
    return head | {"spec": {"source": source, "transfer": {"tls": tls}} | spec}


def routes(harness: DownloadHarness, secrets: Path, url: str, tls: dict[str, Any]) -> Routes:
    """As an agent makes them of a spec and the mounted Secrets."""
    return source_routes(parse_artifact(document(url, tls)).spec, [harness.ca_file], Secrets(secrets))


async def fetch(harness: DownloadHarness, roads: Routes, url: str, data: bytes) -> None:
    """By the engine."""
    http_client = HTTPClient(roads, harness.limits)
    checkpoint = LocalCheckpoint(harness.directory)
    fetcher = DownloadCoordinator(
        content_addressed((entry("a", data, url),)), checkpoint, http_client, Settings(4, progress_deadline=1.0)
    )
    try:
        await fetcher.run()
    finally:
        await checkpoint.close()


async def ask(roads: Routes, url: str) -> int:
    """By a source; the status."""
    async with SourceClient(roads.for_mirror(SOURCE), retry=Retry(1.0)) as client:
        return (await client.head(url, "a", {"Range": "bytes=0-0"})).status


async def both_refused(harness: DownloadHarness, roads: Routes, url: str, data: bytes) -> tuple[list[str], list[str]]:
    """The reasons and the messages of engine and source."""
    with pytest.raises(CertificateRefused) as fetching:
        await fetch(harness, roads, url, data)
    with pytest.raises(CertificateRefused) as asking:
        await ask(roads, url)
    assert not harness.published
    both = (fetching.value, asking.value)
    return [error.reason for error in both], [error.message for error in both]


async def test_engine_and_source_present_the_client_certificate_to_nginx(
    harness: DownloadHarness, nginx: Nginx, known: Leaf, tmp_path: Path, data: bytes
) -> None:
    roads = routes(harness, tmp_path / "secrets", nginx.url("a"), SECRET)
    assert await ask(roads, nginx.url("a")) == 206
    await fetch(harness, roads, nginx.url("a"), data)
    assert harness.read("a") == data
    assert {request.client for request in nginx.requests()} == {"CN=model-reader"}


async def test_a_missing_client_certificate_for_nginx_is_reported(
    harness: DownloadHarness, nginx: Nginx, tmp_path: Path, data: bytes
) -> None:
    reasons, told = await both_refused(harness, routes(harness, tmp_path, nginx.url("a"), {}), nginx.url("a"), data)
    assert reasons == ["ClientCertificateRequired"] * 2
    assert all("a Secret with one in spec.transfer.tls.clientCertificate" in message for message in told)


async def test_a_client_certificate_of_an_unknown_ca_for_nginx_is_reported(
    harness: DownloadHarness, nginx: Nginx, tmp_path: Path, data: bytes
) -> None:
    Authority(tmp_path, "strangers").leaf("x", name="unknown", purpose=CLIENT).secret(tmp_path / "secrets/who")
    roads = routes(harness, tmp_path / "secrets", nginx.url("a"), SECRET)
    reasons, told = await both_refused(harness, roads, nginx.url("a"), data)
    assert reasons == ["ClientCertificateRefused"] * 2
    assert all("the Secret of spec.transfer.tls.clientCertificate" in message for message in told)


async def test_a_tls_alert_that_requires_a_client_certificate_is_reported(
    harness: DownloadHarness, demanding: ssl.SSLContext, tmp_path: Path, data: bytes
) -> None:
    with refusing(demanding) as server:
        url = f"https://{server}/a"
        reasons, told = await both_refused(harness, routes(harness, tmp_path, url, {}), url, data)
    assert reasons == ["ClientCertificateRequired"] * 2
    assert all("its alert: certificate required" in message for message in told)


async def test_a_tls_alert_that_refuses_the_client_certificate_is_reported(
    harness: DownloadHarness, demanding: ssl.SSLContext, tmp_path: Path, data: bytes
) -> None:
    Authority(tmp_path, "strangers").leaf("x", name="unknown", purpose=CLIENT).secret(tmp_path / "secrets/who")
    with refusing(demanding) as server:
        url = f"https://{server}/a"
        reasons, told = await both_refused(harness, routes(harness, tmp_path / "secrets", url, SECRET), url, data)
    assert reasons == ["ClientCertificateRefused"] * 2
    assert all("its alert: unknown ca" in message for message in told)


@pytest.mark.parametrize("allowed", [False, True])
async def test_after_a_redirect_the_client_certificate_is_presented_only_to_allowed_hosts(
    harness: DownloadHarness,
    demanding: ssl.SSLContext,
    leaf: Leaf,
    clients: Authority,
    known: Leaf,
    tmp_path: Path,
    data: bytes,
    allowed: bool,
) -> None:
    (tmp_path / "served").mkdir()
    (tmp_path / "served" / "a").write_bytes(data)
    with Nginx(tmp_path / "served", leaf=leaf, clients=clients.ca_file, verify="optional") as cdn:
        async with HostileOrigin({}, tls=demanding, rules=[Rule(redirect=cdn.url("a"))]) as origin:
            if allowed:
                hosts = [url.split("/")[2] for url in (origin.url("a"), cdn.url("a"))]
                (tmp_path / "secrets/who/allowedHosts").write_text("\n".join(hosts))
            roads = routes(harness, tmp_path / "secrets", origin.url("a"), SECRET)
            assert await ask(roads, origin.url("a")) == 206
            await fetch(harness, roads, origin.url("a"), data)
            assert origin.entries
        assert {request.client for request in cdn.requests()} == {"CN=model-reader" if allowed else ""}
    assert harness.read("a") == data


async def test_pull_and_repair_with_a_certificate_in_the_secrets_directory(
    harness: DownloadHarness, nginx: Nginx, known: Leaf, tmp_path: Path, data: bytes
) -> None:
    (tmp_path / "m.json").write_text(json.dumps(document(nginx.url("a"), SECRET)))
    given = ("--ca-file", harness.ca_file, "--secrets", tmp_path / "secrets")
    code, said = await modelferry("pull", tmp_path / "m.json", "--to", tmp_path / "m", *given)
    assert code == 0, said
    harness.corrupt(tmp_path / "m/current/a", 5)
    code, said = await modelferry("verify", tmp_path / "m", "--repair", tmp_path / "m.json", *given)
    assert (code, "1 file repaired" in said) == (0, True), said
    assert (tmp_path / "m/current/a").read_bytes() == data

    code, said = await modelferry("pull", tmp_path / "m.json", "--to", tmp_path / "n", "--ca-file", harness.ca_file)
    assert (code, "spec.transfer.tls.clientCertificate: there is no Secret 'who'" in said) == (2, True), said


@pytest.mark.parametrize("own", [True, False])
async def test_a_mirror_gets_its_own_client_certificate_and_not_the_sources(
    serve: Serve,
    harness: DownloadHarness,
    nginx: Nginx,
    clients: Authority,
    known: Leaf,
    tmp_path: Path,
    data: bytes,
    own: bool,
) -> None:
    clients.leaf("mirror-reader", name="second", purpose=CLIENT).secret(tmp_path / "secrets/second")
    mirror: dict[str, Any] = {"name": "lab", "url": nginx.url("{path}")}
    if own:
        mirror["tls"] = {"clientCertificate": {"secretRef": {"name": "second"}}}
    async with serve({"a": data}) as origin:
        (tmp_path / "m.json").write_text(json.dumps(document(origin.url("a"), SECRET, mirrors=[mirror])))
        given = ("--ca-file", harness.ca_file, "--secrets", tmp_path / "secrets")
        code, said = await modelferry("pull", tmp_path / "m.json", "--to", tmp_path / "m", *given)
        assert code == 0, said
        asked_source = len(origin.entries)
    assert (tmp_path / "m/current/a").read_bytes() == data
    if own:
        assert {request.client for request in nginx.requests()} == {"CN=mirror-reader"}
    else:
        assert {(request.client, request.status) for request in nginx.requests()} == {("", 400)}
        assert asked_source > 1
