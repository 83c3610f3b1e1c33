"""A download continues after it was stopped, and after its files or its database were damaged."""

from __future__ import annotations

import hashlib
import sqlite3
from pathlib import Path

import pytest

from modelferry.errors import Denied, NotFound, UserError
from modelferry.maintenance.revision_check import FileReport, verify
from network.harness import CHUNK, DownloadHarness, Serve, entry
from origin.rules import Rule
from origin.server import HostileOrigin

pytestmark = pytest.mark.usefixtures("small_chunks")


@pytest.fixture
async def half(serve: Serve, harness: DownloadHarness, data: bytes) -> HostileOrigin:
    """An origin from which the first three chunks of ``a`` were fetched before it answered 401."""
    origin = serve({"a": data})
    async with origin:
        harness.connections = 1
        origin.script.add(Rule(covers=3 * CHUNK, status=401))
        with pytest.raises(Denied):
            await harness.pull(entry("a", data, origin.url("a")))
    origin.script.clear()
    origin.entries.clear()
    return origin


def digest_of(data: bytes) -> str:
    """The digest as in a READY marker."""
    return f"sha256:{hashlib.sha256(data).hexdigest()}"


def requested_chunks(origin: HostileOrigin) -> list[int]:
    """Indices of the chunks that were requested."""
    return sorted(entry.span[0] // CHUNK for entry in origin.entries if entry.span)


async def test_a_stopped_download_continues_with_the_missing_chunks(
    half: HostileOrigin, harness: DownloadHarness, data: bytes
) -> None:
    async with half:
        result = await harness.pull(entry("a", data, half.url("a")))
    assert requested_chunks(half) == [3, 4, 5]
    assert result.rehashed == 0
    assert harness.read("a") == data


async def test_after_a_boot_all_chunks_are_hashed_and_only_a_lost_one_is_fetched(
    half: HostileOrigin, harness: DownloadHarness, data: bytes
) -> None:
    harness.corrupt(harness.incoming("a"), CHUNK + 5)
    harness.boot_id = "boot-2"
    async with half:
        result = await harness.pull(entry("a", data, half.url("a")))
    assert requested_chunks(half) == [1, 3, 4, 5]
    assert result.rehashed == 3
    assert "1 of 3 chunks did not survive" in result.notes[0]
    assert harness.read("a") == data


async def test_without_a_boot_a_damaged_chunk_is_found_by_the_digest_of_the_file(
    half: HostileOrigin, harness: DownloadHarness, data: bytes
) -> None:
    harness.corrupt(harness.incoming("a"), CHUNK + 5)
    async with half:
        await harness.pull(entry("a", data, half.url("a")))
    assert requested_chunks(half) == [1, 3, 4, 5]
    assert harness.read("a") == data


async def test_a_file_that_was_lost_is_fetched_again(
    half: HostileOrigin, harness: DownloadHarness, data: bytes
) -> None:
    harness.incoming("a").unlink()
    async with half:
        result = await harness.pull(entry("a", data, half.url("a")))
    assert requested_chunks(half) == [0, 1, 2, 3, 4, 5]
    assert "was lost" in result.notes[0]


@pytest.mark.parametrize("damage", ["garbage", "version"])
async def test_a_database_that_cannot_be_read_is_set_aside(
    half: HostileOrigin, harness: DownloadHarness, data: bytes, damage: str
) -> None:
    database = harness.directory / ".modelferry" / "chunks.db"
    if damage == "garbage":
        database.write_bytes(b"not a database" * 1000)
    else:
        with sqlite3.connect(database) as db:
            db.execute("UPDATE meta SET value = '99' WHERE key = 'schema'")
        db.close()
    async with half:
        result = await harness.pull(entry("a", data, half.url("a")))
    assert "set aside as chunks.db.damaged-1" in result.notes[0]
    assert database.with_name("chunks.db.damaged-1").exists()
    assert harness.read("a") == data


async def test_without_a_database_files_with_the_right_digest_are_kept(
    serve: Serve, harness: DownloadHarness, data: bytes
) -> None:
    async with serve({"a": data, "b": b"x" * CHUNK}) as origin:
        origin.script.add(Rule(path="b", status=404))
        files = entry("a", data, origin.url("a")), entry("b", b"x" * CHUNK, origin.url("b"))
        harness.connections = 1
        with pytest.raises(NotFound):
            await harness.pull(*files)
        origin.script.clear()
        origin.entries.clear()
        (harness.directory / ".modelferry" / "chunks.db").write_bytes(b"garbage" * 1000)
        await harness.pull(*files)
        assert not origin.requests("a")
    assert harness.read("b") == b"x" * CHUNK


@pytest.fixture
async def published_origin(serve: Serve, harness: DownloadHarness, data: bytes) -> HostileOrigin:
    """An origin from which ``a`` was fetched and published."""
    origin = serve({"a": data})
    async with origin:
        await harness.pull(entry("a", data, origin.url("a")))
    origin.entries.clear()
    return origin


async def test_a_published_revision_is_hashed_again_after_a_boot(
    published_origin: HostileOrigin, harness: DownloadHarness, data: bytes
) -> None:
    harness.boot_id = "boot-2"
    async with published_origin:
        result = await harness.pull(entry("a", data, published_origin.url("a")))
    assert not published_origin.entries
    assert result.rehashed == 6


async def test_a_published_revision_that_a_boot_damaged_is_repaired(
    published_origin: HostileOrigin, harness: DownloadHarness, data: bytes
) -> None:
    harness.corrupt(harness.directory / "current" / "a", 4 * CHUNK)
    harness.boot_id = "boot-2"
    async with published_origin:
        result = await harness.pull(entry("a", data, published_origin.url("a")))
    assert requested_chunks(published_origin) == [4]
    assert "unpublished" in " ".join(result.notes)
    assert harness.read("a") == data


async def test_the_next_pull_fetches_a_published_file_that_is_missing(
    published_origin: HostileOrigin, harness: DownloadHarness, data: bytes
) -> None:
    (harness.directory / "current" / "a").unlink()
    async with published_origin:
        await harness.pull(entry("a", data, published_origin.url("a")))
    assert requested_chunks(published_origin) == [0, 1, 2, 3, 4, 5]
    assert harness.read("a") == data


async def test_without_a_boot_a_published_file_is_not_read_again_and_verify_finds_damage(
    published_origin: HostileOrigin, harness: DownloadHarness, data: bytes
) -> None:
    harness.corrupt(harness.directory / "current" / "a", 4 * CHUNK)
    async with published_origin:
        await harness.pull(entry("a", data, published_origin.url("a")))
    assert not published_origin.entries
    assert not verify(harness.directory).ok


async def test_a_revision_without_its_marker_is_published_again_without_requests(
    published_origin: HostileOrigin, harness: DownloadHarness, data: bytes
) -> None:
    (harness.directory / "current" / ".modelferry-ready.json").unlink()
    async with published_origin:
        await harness.pull(entry("a", data, published_origin.url("a")))
    assert not published_origin.entries
    assert harness.read("a") == data
    assert verify(harness.directory).ok


async def test_a_missing_current_link_is_created_by_the_next_pull(
    published_origin: HostileOrigin, harness: DownloadHarness, data: bytes
) -> None:
    (harness.directory / "current").unlink()
    async with published_origin:
        await harness.pull(entry("a", data, published_origin.url("a")))
    assert not published_origin.entries
    assert harness.read("a") == data


async def test_the_current_and_the_previous_revision_stay(serve: Serve, harness: DownloadHarness) -> None:
    contents = [bytes([number]) * 1000 for number in range(4)]
    for content in contents:
        async with serve({"a": content}) as origin:
            await harness.pull(entry("a", content, origin.url("a")))
    revisions = list((harness.directory / "revisions").iterdir())
    assert sorted((path / "a").read_bytes() for path in revisions) == contents[2:]
    assert harness.read("a") == contents[3]
    assert list((harness.directory / ".modelferry" / "incoming").iterdir()) == []


async def test_a_pull_of_the_previous_revision_fetches_nothing(serve: Serve, harness: DownloadHarness) -> None:
    async with serve({"a": b"one", "b": b"two"}) as origin:
        await harness.pull(entry("x", b"one", origin.url("a")))
        await harness.pull(entry("x", b"two", origin.url("b")))
        requested = len(origin.entries)
        await harness.pull(entry("x", b"one", origin.url("a")))
        assert len(origin.entries) == requested
    assert harness.read("x") == b"one"


async def test_verify_reports_the_bad_chunk(
    published_origin: HostileOrigin, harness: DownloadHarness, data: bytes
) -> None:
    assert verify(harness.directory).ok
    harness.corrupt(harness.directory / "current" / "a", 4 * CHUNK)
    assert verify(harness.directory).files == (FileReport("a", len(data), "damaged", (4,), digest_of(data)),)


async def test_verify_without_the_database_uses_the_digests_of_the_marker(
    published_origin: HostileOrigin, harness: DownloadHarness, data: bytes
) -> None:
    (harness.directory / ".modelferry" / "chunks.db").unlink()
    assert verify(harness.directory).ok
    harness.corrupt(harness.directory / "current" / "a", 4 * CHUNK)
    assert verify(harness.directory).files == (FileReport("a", len(data), "damaged", (), digest_of(data)),)


async def test_verify_reports_a_file_that_is_missing_or_has_another_size(
    published_origin: HostileOrigin, harness: DownloadHarness
) -> None:
    file = harness.directory / "current" / "a"
    with file.open("ab") as opened:
        opened.write(b"more")
    assert verify(harness.directory).files[0].state == "resized"
    file.unlink()
    assert verify(harness.directory).files[0].state == "missing"


def test_verify_of_an_empty_directory_is_an_error(tmp_path: Path) -> None:
    with pytest.raises(UserError, match="holds no published model"):
        verify(tmp_path)
