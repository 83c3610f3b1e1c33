"""Row 45 over sockets: a server that counts as public leads to one that does not."""

from __future__ import annotations

import pytest

from modelferry.errors import PrivateAddress
from modelferry.http.address_policy import AddressPolicy
from modelferry.http.routes import Route
from modelferry.http.tls.contexts import client_context
from modelferry.sources.source_client import SourceClient
from network.harness import DownloadHarness, Serve, entry
from origin.rules import Rule

pytestmark = pytest.mark.usefixtures("small_chunks")


def only_localhost_is_public() -> AddressPolicy:
    """127.0.0.1 is reached by that name as the public server, and by its number as the private one."""
    return AddressPolicy(public=lambda address: address == "127.0.0.1")


async def test_a_public_server_does_not_lead_the_download_to_a_private_address(
    serve: Serve, harness: DownloadHarness, data: bytes
) -> None:
    async with serve({"a": data}, host="127.0.0.2") as inside, serve({}) as outside:
        outside.script.add(Rule(redirect=inside.url("a")))
        harness.address_policy = only_localhost_is_public()
        with pytest.raises(PrivateAddress, match=r"127\.0\.0\.2"):
            await harness.pull(entry("a", data, outside.url("a")))
        assert inside.accepted == 0
        assert harness.met == [45]


async def test_a_public_server_does_not_lead_the_resolution_to_a_private_address(
    serve: Serve, harness: DownloadHarness, data: bytes
) -> None:
    async with serve({"a": data}, host="127.0.0.2") as inside, serve({}) as outside:
        outside.script.add(Rule(redirect=inside.url("a")))
        route = Route(client_context(harness.ca_file), address_policy=only_localhost_is_public())
        async with SourceClient(route) as client:
            with pytest.raises(PrivateAddress, match=r"m/a: .*127\.0\.0\.2") as caught:
                await client.head(outside.url("a"), "m/a")
        assert caught.value.file == "m/a"
        assert inside.accepted == 0
