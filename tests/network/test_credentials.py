"""Who gets to see a credential: the hosts that it is meant for, and nobody whom they redirect to."""

from __future__ import annotations

from pathlib import Path
from urllib.parse import urlsplit

import pytest

from modelferry.agent.secrets import Secrets
from modelferry.errors import Denied, InvalidSpec
from modelferry.http.auth.added_fields import AddedField, WithAddedFields
from modelferry.http.auth.credentials import ANONYMOUS, HostScoped, bearer
from modelferry.http.routes import Route
from modelferry.http.tls.contexts import client_context
from modelferry.sources.source_client import SourceClient
from network.harness import DownloadHarness, Serve, entry
from origin.rules import Rule
from origin.server import HostileOrigin

pytestmark = pytest.mark.usefixtures("small_chunks")

SHOWN = "Bearer planted-secret"


def meant_for(origin: HostileOrigin) -> HostScoped:
    return HostScoped(bearer("planted-secret"), frozenset({urlsplit(origin.url("")).netloc}))


async def test_each_request_to_the_source_has_its_credential(
    serve: Serve, harness: DownloadHarness, data: bytes
) -> None:
    async with serve({"a": data}, rules=[Rule(authorization=SHOWN)]) as origin:
        harness.credential = meant_for(origin)
        await harness.pull(entry("a", data, origin.url("a")))
        assert {request.authorization for request in origin.entries} == {SHOWN}
    assert harness.read("a") == data


async def test_a_credential_does_not_follow_a_redirect_to_another_host(
    serve: Serve, harness: DownloadHarness, data: bytes
) -> None:
    async with serve({"a": data}) as cdn:
        async with serve({}, rules=[Rule(authorization=SHOWN), Rule(redirect=cdn.url("a"))]) as origin:
            harness.credential = meant_for(origin)
            await harness.pull(entry("a", data, origin.url("a")))
            async with SourceClient(Route(client_context(harness.ca_file), harness.credential)) as client:
                await client.head(origin.url("a"), "a")
        assert {request.authorization for request in cdn.entries} == {""}
    assert harness.read("a") == data


async def test_a_header_of_the_spec_does_not_follow_a_redirect_to_another_host(
    serve: Serve, harness: DownloadHarness, data: bytes
) -> None:
    """kserve#1351: headers for the host that asks for them, in resolving and in the download."""
    async with serve({"a": data}) as cdn, serve({}, rules=[Rule(redirect=cdn.url("a"))]) as origin:
        key = AddedField("X-Api-Key", "planted-key", frozenset({urlsplit(origin.url("")).netloc}))
        harness.credential = WithAddedFields(ANONYMOUS, (key,))
        await harness.pull(entry("a", data, origin.url("a")))
        async with SourceClient(Route(client_context(harness.ca_file), harness.credential)) as client:
            await client.head(origin.url("a"), "a")
        assert [dict(request.fields).get("x-api-key") for request in origin.received] == ["planted-key"] * len(
            origin.received
        )
        assert cdn.received
        assert not any("planted-key" in str(request.fields) for request in cdn.received)
    assert harness.read("a") == data


async def test_without_a_credential_the_download_is_denied(serve: Serve, harness: DownloadHarness, data: bytes) -> None:
    async with serve({"a": data}, rules=[Rule(authorization=SHOWN)]) as origin:
        with pytest.raises(Denied, match="401"):
            await harness.pull(entry("a", data, origin.url("a")))


async def test_a_credential_is_not_sent_over_plain_http() -> None:
    guarded = HostScoped(bearer("planted-secret"), frozenset({"h"}))
    assert await guarded.headers("http://h/a") == ()
    assert await guarded.headers("https://h/a") == (("Authorization", SHOWN),)
    assert "planted-secret" not in repr(guarded)


def test_a_missing_secret_is_named(tmp_path: Path) -> None:
    with pytest.raises(InvalidSpec, match=r"spec\.auth: there is no Secret 'hub'.*--secrets") as caught:
        Secrets(tmp_path).read("hub", "spec.auth")
    assert caught.value.reason == "SecretMissing"
