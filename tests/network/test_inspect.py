"""``modelferry inspect``: what a directory holds, while a download runs and afterwards."""

from __future__ import annotations

import asyncio
import json
import os
import sqlite3
from dataclasses import replace
from pathlib import Path

import pytest

from modelferry.checkpoint.worker import read_boot_id
from modelferry.cli.inspect import json_fields, text_lines
from modelferry.cli.main import main
from modelferry.errors import DamagedState, Denied, ForeignDirectory
from modelferry.maintenance.inspection import Inspection, inspect
from modelferry.manifest import Location
from network.harness import CHUNK, DownloadHarness, Serve, entry
from origin.rules import Rule

pytestmark = pytest.mark.usefixtures("small_chunks")


def look(harness: DownloadHarness) -> Inspection:
    return inspect(harness.directory, boot_id=harness.boot_id)


def state_of(directory: Path) -> dict[str, tuple[int, bytes]]:
    """Every file with its time of change and content."""
    files = [path for path in directory.rglob("*") if path.is_file()]
    return {str(path): (path.stat().st_mtime_ns, path.read_bytes()) for path in files}


async def stopped(serve: Serve, harness: DownloadHarness, data: bytes) -> None:
    """Fetch the first three chunks of ``a``, and ``b`` not at all."""
    harness.connections = 1
    async with serve({"a": data, "b": b"hello"}) as origin:
        origin.script.add(Rule(path="a", covers=3 * CHUNK, status=401))
        with pytest.raises(Denied):
            await harness.pull(entry("a", data, origin.url("a")), entry("b", b"hello", origin.url("b")))


async def test_a_stopped_download_is_shown_by_file_and_chunk(
    serve: Serve, harness: DownloadHarness, data: bytes
) -> None:
    await stopped(serve, harness, data)
    before = state_of(harness.directory)
    seen = look(harness)
    assert state_of(harness.directory) == before
    assert (seen.holder, seen.rehash, seen.database, seen.leftovers) == (None, False, "whole", ())
    [revision] = seen.revisions
    assert (revision.published, revision.ready, revision.current) == (None, False, False)
    assert [(file.path, file.state, file.done, file.letters, file.mirrors) for file in revision.files] == [
        ("a", "fetching", 3 * CHUNK, "dddppp", (("m0", 3),)),
        ("b", "fetching", 0, "p", ()),
    ]
    lines = text_lines(seen)
    assert lines[1] == "  in use by: no process"
    assert lines[3] == f"revision {revision.revision}: downloading, 59% of 321 KiB done, 0 of 2 files verified"
    assert lines[4].split() == ["FILE", "SIZE", "DONE", "CHUNKS", "STATE", "GENERATION", "MIRRORS"]
    assert lines[5].split() == ["a", "321", "KiB", "59%", "3/6", "fetching", "0", "m0"]
    assert json_fields(seen)["revisions"][0]["files"][0]["chunks"] == "3d3p"


async def test_a_running_download_is_shown_and_not_interrupted(
    serve: Serve, harness: DownloadHarness, data: bytes
) -> None:
    async with serve({"a": data}) as origin:
        origin.script.add(Rule(covers=4 * CHUNK, delay=0.5))
        pulling = asyncio.create_task(harness.pull(entry("a", data, origin.url("a"))))
        seen: list[Inspection] = []
        while not pulling.done():
            await asyncio.sleep(0)
            if (harness.directory / ".modelferry" / "chunks.db").exists() and origin.entries:
                seen.append(look(harness))
        await pulling
    assert seen[0].holder == os.getpid()
    assert f"  in use by: process {os.getpid()}" in text_lines(seen[0])
    assert harness.read("a") == data
    assert look(harness).holder is None


async def test_a_published_revision_is_shown_with_its_time_and_as_current(
    serve: Serve, harness: DownloadHarness, data: bytes
) -> None:
    async with serve({"a": data, "b": b"hello"}) as origin:
        await harness.pull(entry("a", b"hello", origin.url("b")))
        await harness.pull(entry("a", data, origin.url("a")))
    current, previous = look(harness).revisions
    assert (current.current, current.ready, current.done, current.size) == (True, True, len(data), len(data))
    assert (previous.current, previous.ready) == (False, True)
    assert current.published is not None
    assert previous.published is not None
    assert current.published > previous.published
    [_, _, _, line, *_] = text_lines(look(harness))
    assert line.startswith(f"revision {current.revision}: current, published 20")
    assert line.endswith(" UTC, 100% of 321 KiB done, 1 of 1 file verified")


async def test_the_statistics_are_summed_over_all_runs(serve: Serve, harness: DownloadHarness, data: bytes) -> None:
    await stopped(serve, harness, data)
    files = entry("a", data, "https://x/"), entry("b", b"hello", "https://x/")
    async with serve({"a": data, "b": b"hello"}, rules=[Rule(status=503, times=2)]) as origin:
        await harness.pull(*(replace(file, locations=(Location(origin.url(file.path), "m0"),)) for file in files))
    [revision] = look(harness).revisions
    costs = {(cost.what, cost.mirror): cost for cost in revision.costs}
    assert costs["RetryAfter", "m0"].times == 2
    assert costs["Unauthorized", "m0"].times == 1
    # Chunks 0 to 3 in the first run; two answers of no use, chunks 3 to 5 and the other file in the second.
    assert costs["streams", "m0"].times == 4 + 2 + 4
    assert costs["streams", "m0"].seconds > 0
    assert {what for what, mirror in costs if not mirror} >= {"recovering", "recording", "publishing"}
    lines = text_lines(look(harness))
    assert any(line.startswith("  m0: 10 requests, ") for line in lines)
    assert "  retries: 2 at m0 (RetryAfter), 1 at m0 (Unauthorized)" in lines
    assert any(line.startswith("  on the disk: ") for line in lines)


async def test_a_database_without_statistics_is_read_and_upgraded(
    serve: Serve, harness: DownloadHarness, data: bytes
) -> None:
    await stopped(serve, harness, data)
    db = sqlite3.connect(harness.directory / ".modelferry" / "chunks.db")
    db.execute("DROP TABLE costs")
    db.close()
    assert look(harness).revisions[0].costs == ()
    async with serve({"a": data, "b": b"hello"}) as origin:
        result = await harness.pull(entry("a", data, origin.url("a")), entry("b", b"hello", origin.url("b")))
    assert result.notes == ()
    assert look(harness).revisions[0].costs


async def test_chunks_that_a_boot_damaged_are_shown_as_bad(serve: Serve, harness: DownloadHarness, data: bytes) -> None:
    await stopped(serve, harness, data)
    harness.corrupt(harness.incoming("a"), CHUNK)
    harness.boot_id = "boot-2"
    assert look(harness).rehash
    assert any("hashes every chunk again" in line for line in text_lines(look(harness)))
    async with serve({"a": data, "b": b"hello"}) as origin:
        origin.script.add(Rule(status=401))
        with pytest.raises(Denied):
            await harness.pull(entry("a", data, origin.url("a")), entry("b", b"hello", origin.url("b")))
    assert look(harness).revisions[0].files[0].letters == "dbdppp"
    assert any("2/6 (1 bad)" in line for line in text_lines(look(harness)))


async def test_leftover_files_are_listed_with_their_size(serve: Serve, harness: DownloadHarness, data: bytes) -> None:
    await stopped(serve, harness, data)
    left = harness.directory / ".modelferry" / "incoming" / "0123456789ab"
    left.mkdir()
    (left / "file").write_bytes(bytes(8192))
    assert any(line.startswith("  leftover: .modelferry/incoming/0123456789ab, ") for line in text_lines(look(harness)))


async def test_without_a_database_the_revisions_on_the_disk_are_shown(
    serve: Serve, harness: DownloadHarness, data: bytes
) -> None:
    async with serve({"a": data}) as origin:
        await harness.pull(entry("a", data, origin.url("a")))
    (harness.directory / ".modelferry" / "chunks.db").unlink()
    seen = look(harness)
    assert (seen.database, len(seen.revisions)) == ("missing", 1)
    assert not (harness.directory / ".modelferry" / "chunks.db").exists()
    assert any(line.endswith("no rows in chunks.db") for line in text_lines(seen))


@pytest.mark.parametrize("damage", ["garbage", "version", "another program's"])
async def test_an_unreadable_database_is_reported_and_not_changed(
    serve: Serve, harness: DownloadHarness, data: bytes, damage: str
) -> None:
    await stopped(serve, harness, data)
    database = harness.directory / ".modelferry" / "chunks.db"
    if damage == "version":
        db = sqlite3.connect(database)
        db.execute("UPDATE meta SET value = '99' WHERE key = 'schema'")
        db.commit()
        db.close()
    elif damage == "garbage":
        database.write_bytes(b"not a database" * 1000)
    else:
        database.unlink()
        db = sqlite3.connect(database)
        db.execute("CREATE TABLE notes (text)")
        db.close()
    before = database.read_bytes()
    with pytest.raises(DamagedState, match=r"chunks\.db.*(not a database|version 99|no such table)"):
        look(harness)
    assert database.read_bytes() == before


def test_a_directory_with_other_files_is_reported(tmp_path: Path) -> None:
    with pytest.raises(ForeignDirectory, match=r"holds no \.modelferry"):
        inspect(tmp_path)
    with pytest.raises(ForeignDirectory, match="No such file"):
        inspect(tmp_path / "nowhere")
    assert list(tmp_path.iterdir()) == []


async def test_the_command_prints_lines_or_json(
    serve: Serve, harness: DownloadHarness, data: bytes, capsys: pytest.CaptureFixture[str]
) -> None:
    harness.boot_id = read_boot_id()
    await stopped(serve, harness, data)
    assert main(["inspect", str(harness.directory)]) == 0
    assert "3/6" in capsys.readouterr().out
    assert main(["inspect", str(harness.directory), "--json"]) == 0
    event = json.loads(capsys.readouterr().out)
    assert (event["event"], event["holder"], event["revisions"][0]["done"]) == ("result", None, 3 * CHUNK)
    assert main(["inspect", str(harness.directory / "nowhere")]) == 2
    assert "modelferry: ForeignDirectory: " in capsys.readouterr().err
