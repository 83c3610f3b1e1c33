"""Sources that answer late or slowly: what counts is whether something arrives."""

from __future__ import annotations

import pytest

from modelferry.errors import SourceUnavailable
from modelferry.http.routes import Route
from modelferry.http.tls.contexts import client_context
from modelferry.http.transport.connection_key import Timeouts
from modelferry.sources.retry import Retry
from modelferry.sources.source_client import SourceClient
from network.harness import DownloadHarness, Serve
from origin.rules import Rule

LISTING = b"x" * 6000


def client(harness: DownloadHarness, budget: float, seconds: float) -> SourceClient:
    """It waits `seconds` for a response, at first."""
    timeouts = Timeouts(head=seconds, stall=seconds, floor=1)
    return SourceClient(Route(client_context(harness.ca_file)), retry=Retry(budget), timeouts=timeouts)


async def test_a_listing_that_drips_is_read_however_long_it_takes(serve: Serve, harness: DownloadHarness) -> None:
    async with serve({"list": LISTING}, rules=[Rule(rate=4096.0)]) as origin, client(harness, 60.0, 1.0) as source:
        _, body = await source.get(origin.url("list"), "list", limit=1 << 20)
        assert body == LISTING
        assert len(origin.received) == 1, "1.5 s are longer than the timeout of 1 s"


async def test_a_first_byte_that_is_late_each_time_is_waited_for(serve: Serve, harness: DownloadHarness) -> None:
    """huggingface/huggingface_hub#3594: each request for one file takes longer than the timeout."""
    async with serve({"list": LISTING}, rules=[Rule(delay=0.7)]) as origin, client(harness, 60.0, 0.5) as source:
        _, body = await source.get(origin.url("list"), "list", limit=1 << 20)
        assert body == LISTING
        assert len(origin.received) == 2


async def test_a_source_that_never_answers_is_given_up(serve: Serve, harness: DownloadHarness) -> None:
    async with serve({"list": LISTING}, rules=[Rule(delay=60.0)]) as origin, client(harness, 0.3, 0.1) as source:
        with pytest.raises(SourceUnavailable, match=r"list: https://.*/list: no complete answer in 0 s; tried"):
            await source.head(origin.url("list"), "list")
