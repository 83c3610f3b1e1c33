"""A published model that was damaged on the disk is repaired by fetching only the damaged chunks."""

from __future__ import annotations

import os
import shutil
from dataclasses import replace
from pathlib import Path

import pytest

from modelferry.checkpoint.directory_lock import acquire_lock
from modelferry.engine.download.coordinator import Settings
from modelferry.errors import Denied, DirectoryBusy, InvalidSpec, ModelferryError, NotFound, SourceChanged
from modelferry.http.client import HTTPClient
from modelferry.http.routes import Route, Routes
from modelferry.http.tls.contexts import client_context
from modelferry.maintenance.repair import RepairResult, locked, repair
from modelferry.maintenance.revision_check import verify
from modelferry.manifest.entries import content_addressed
from modelferry.storage.tree import Tree
from network.harness import CHUNK, DownloadHarness, Serve, entry
from origin.rules import Rule
from origin.server import HostileOrigin

pytestmark = pytest.mark.usefixtures("small_chunks")

OTHER = bytes(range(256)) * 600  # three chunks, the last one short


@pytest.fixture
async def published_origin(serve: Serve, harness: DownloadHarness, data: bytes) -> HostileOrigin:
    """An origin from which ``a`` and ``deep/b`` were fetched and published."""
    origin = serve({"a": data, "deep/b": OTHER})
    async with origin:
        await harness.pull(entry("a", data, origin.url("a")), entry("deep/b", OTHER, origin.url("deep/b")))
    origin.entries.clear()
    return origin


async def repaired(harness: DownloadHarness, origin: HostileOrigin, **contents: bytes) -> RepairResult:
    """Verify and repair, from a source that lists what `origin` has (or `contents`)."""
    listed = contents or origin.contents
    source = content_addressed(tuple(entry(path, content, origin.url(path)) for path, content in listed.items()))
    with locked(harness.directory):
        report = verify(harness.directory)
        http_client = HTTPClient(Routes(Route(client_context(harness.ca_file))), harness.limits)
        settings = Settings(harness.connections, progress_deadline=harness.progress_deadline)
        return await repair(harness.directory, report, source, http_client, settings, jitter=lambda: -0.98)


def requested(origin: HostileOrigin) -> list[tuple[str, int]]:
    """(path, chunk index) of the requests."""
    return sorted((entry.path, entry.span[0] // CHUNK) for entry in origin.entries if entry.span)


def published(harness: DownloadHarness, path: str) -> Path:
    return harness.directory / "current" / path


async def test_a_flipped_byte_costs_one_chunk(
    published_origin: HostileOrigin, harness: DownloadHarness, data: bytes
) -> None:
    harness.corrupt(published(harness, "a"), 4 * CHUNK + 17)
    async with published_origin:
        assert await repaired(harness, published_origin) == RepairResult(("a",), CHUNK, 0)
    assert requested(published_origin) == [("/a", 4)]
    assert harness.read("a") == data
    assert verify(harness.directory).ok
    assert list((harness.directory / ".modelferry" / "incoming").iterdir()) == []


async def test_two_chunks_of_two_files_are_fetched_and_nothing_else(
    published_origin: HostileOrigin, harness: DownloadHarness, data: bytes
) -> None:
    harness.corrupt(published(harness, "a"), 0)
    harness.corrupt(published(harness, "deep/b"), len(OTHER) - 1)
    async with published_origin:
        await repaired(harness, published_origin)
    assert requested(published_origin) == [("/a", 0), ("/deep/b", 2)]
    assert (harness.read("a"), harness.read("deep/b")) == (data, OTHER)


async def test_a_file_that_a_consumer_has_open_does_not_change(
    published_origin: HostileOrigin, harness: DownloadHarness, data: bytes
) -> None:
    harness.corrupt(published(harness, "a"), 4 * CHUNK)
    damaged = harness.read("a")
    with published(harness, "a").open("rb") as reader:
        async with published_origin:
            await repaired(harness, published_origin)
        assert reader.read() == damaged
    assert harness.read("a") == data
    assert published(harness, "a").stat().st_mode & 0o777 == 0o644


async def test_a_missing_file_is_fetched(published_origin: HostileOrigin, harness: DownloadHarness) -> None:
    shutil.rmtree(published(harness, "deep"))
    async with published_origin:
        await repaired(harness, published_origin)
    assert requested(published_origin) == [("/deep/b", 0), ("/deep/b", 1), ("/deep/b", 2)]
    assert harness.read("deep/b") == OTHER


@pytest.mark.parametrize("size", [2 * CHUNK + 100, 7 * CHUNK])
async def test_intact_chunks_of_a_file_with_another_size_are_kept(
    published_origin: HostileOrigin, harness: DownloadHarness, data: bytes, size: int
) -> None:
    os.truncate(published(harness, "a"), size)
    async with published_origin:
        await repaired(harness, published_origin)
    assert requested(published_origin) == ([("/a", 2), ("/a", 3), ("/a", 4), ("/a", 5)] if size < len(data) else [])
    assert harness.read("a") == data


async def test_without_chunk_digests_the_entire_damaged_file_is_fetched(
    published_origin: HostileOrigin, harness: DownloadHarness, data: bytes
) -> None:
    (harness.directory / ".modelferry" / "chunks.db").unlink()
    harness.corrupt(published(harness, "a"), 0)
    async with published_origin:
        await repaired(harness, published_origin)
    assert [path for path, _ in requested(published_origin)] == ["/a"] * 6
    assert harness.read("a") == data


async def test_a_source_that_is_gone_is_reported_and_nothing_is_lost(
    published_origin: HostileOrigin, harness: DownloadHarness
) -> None:
    harness.corrupt(published(harness, "a"), 0)
    harness.corrupt(published(harness, "deep/b"), 0)
    before = harness.read("a")
    published_origin.script.add(Rule(path="a", status=404))
    async with published_origin:
        with pytest.raises(NotFound, match="a: https"):
            await repaired(harness, published_origin)
    assert harness.read("a") == before
    published_origin.script.clear()
    async with published_origin:
        await repaired(harness, published_origin)
    assert verify(harness.directory).ok


async def test_a_repair_continues_where_another_one_was_stopped(
    published_origin: HostileOrigin, harness: DownloadHarness, data: bytes
) -> None:
    harness.connections = 1
    for index in range(4):
        harness.corrupt(published(harness, "a"), index * CHUNK)
    published_origin.script.add(Rule(path="a", covers=2 * CHUNK, status=401))
    async with published_origin:
        with pytest.raises(Denied):
            await repaired(harness, published_origin)
        published_origin.script.clear()
        published_origin.entries.clear()
        await repaired(harness, published_origin)
    assert requested(published_origin) == [("/a", 2), ("/a", 3)]
    assert harness.read("a") == data


async def test_a_chunk_that_arrives_corrupt_once_is_fetched_again(
    published_origin: HostileOrigin, harness: DownloadHarness, data: bytes
) -> None:
    harness.corrupt(published(harness, "a"), CHUNK)
    published_origin.script.add(Rule(path="a", covers=CHUNK, corrupt=CHUNK + 1, times=1))
    async with published_origin:
        await repaired(harness, published_origin)
    assert requested(published_origin) == [("/a", 1), ("/a", 1)]
    assert published_origin.entries[-1].no_cache
    assert harness.read("a") == data


async def test_a_source_with_other_bytes_of_the_same_size_changes_nothing(
    published_origin: HostileOrigin, harness: DownloadHarness, data: bytes
) -> None:
    harness.corrupt(published(harness, "a"), 0)
    before = harness.read("a")
    published_origin.contents["a"] = bytes(len(data))
    async with published_origin:
        with pytest.raises(SourceChanged, match="the source has another file now"):
            await repaired(harness, published_origin, a=data)
    assert harness.read("a") == before


@pytest.mark.parametrize(
    ("contents", "error"),
    [
        ({"deep/b": OTHER}, InvalidSpec),
        ({"a": b"short"}, SourceChanged),
        ({"a": bytes(5 * CHUNK + 1234)}, SourceChanged),
    ],
    ids=["not listed", "another size", "another digest"],
)
async def test_a_source_without_the_file_is_reported_before_any_request(
    published_origin: HostileOrigin, harness: DownloadHarness, contents: dict[str, bytes], error: type[ModelferryError]
) -> None:
    harness.corrupt(published(harness, "a"), 0)
    async with published_origin:
        with pytest.raises(error, match=r"a is damaged|a: the source has another file now"):
            await repaired(harness, published_origin, **contents)
    assert not published_origin.entries


async def test_a_file_without_a_declared_digest_is_repaired_with_the_computed_one(
    serve: Serve, harness: DownloadHarness, data: bytes
) -> None:
    async with serve({"a": data}) as origin:
        plain = replace(entry("a", data, origin.url("a"), algorithm=None), validator="")
        await harness.pull(plain)
        harness.corrupt(published(harness, "a"), 0)
        origin.entries.clear()
        with locked(harness.directory):
            report = verify(harness.directory)
            http_client = HTTPClient(Routes(Route(client_context(harness.ca_file))), harness.limits)
            await repair(harness.directory, report, content_addressed((plain,)), http_client, Settings())
    assert requested(origin) == [("/a", 0)]
    assert harness.read("a") == data


def test_a_directory_that_a_process_works_in_is_not_repaired(tmp_path: Path) -> None:
    tree = Tree(tmp_path)
    tree.make_directories(".modelferry")
    lock = acquire_lock(tree)
    with pytest.raises(DirectoryBusy, match=f"process {os.getpid()} is working in it"), locked(tmp_path):
        pass
    os.close(lock)
    tree.close()


async def test_a_pull_after_a_repair_fetches_nothing(
    published_origin: HostileOrigin, harness: DownloadHarness, data: bytes
) -> None:
    harness.corrupt(published(harness, "a"), 0)
    async with published_origin:
        await repaired(harness, published_origin)
        published_origin.entries.clear()
        harness.boot_id = "boot-2"
        await harness.pull(
            entry("a", data, published_origin.url("a")), entry("deep/b", OTHER, published_origin.url("deep/b"))
        )
    assert not published_origin.entries
