"""``modelferry verify``, with and without ``--repair``."""

from __future__ import annotations

import argparse
import asyncio
import hashlib
import sys
from pathlib import Path

import pytest

from modelferry.cli import verify
from modelferry.engine.download.coordinator import Settings
from modelferry.http.client import HTTPClient
from modelferry.maintenance.repair import RepairResult, repair
from modelferry.maintenance.revision_check import RevisionReport
from modelferry.manifest import CHUNK_SIZE, Manifest
from network.command.harness import CONTENTS, MODELFERRY, SIZE, CommandHarness, Ended, ended, with_mirror
from origin.rules import Rule
from origin.server import HostileOrigin

pytestmark = pytest.mark.skipif(sys.platform != "linux", reason="looks for the command's children in /proc")


#: Beside the directory; the authority's certificate is made by the fixture.
REPAIR = ("--repair", "model.yaml", "--ca-file", "origin-ca.pem")


async def verified(harness: CommandHarness, *options: str) -> Ended:
    """Run ``modelferry verify``."""
    process = await asyncio.create_subprocess_exec(
        *(MODELFERRY, "verify", str(harness.target), *options),
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.PIPE,
        cwd=harness.directory,
    )
    return await ended(process)


async def test_a_pulled_model_can_be_verified_again(harness: CommandHarness) -> None:
    done = await harness.pull("--json")
    revision = done.events("result")[0]["revision"]
    assert await verified(harness) == Ended(0, f"modelferry: {revision}: 3 files, 48.0 MiB, all intact\n", "")
    [result] = (await verified(harness, "--json")).events("result")
    assert (result["ok"], result["revision"], result["bytes"]) == (True, revision, SIZE)
    assert [(file["path"], file["state"]) for file in result["files"]] == [(path, "ok") for path in sorted(CONTENTS)]


async def test_what_has_no_digest_is_never_called_verified(harness: CommandHarness) -> None:
    """onnx/models#317: neither after the download nor later, and the message has the line to add."""
    artifact = harness.write(lambda files: files[1].pop("sha256"))
    done = await harness.pull()
    unknown = "not verified: no digest declared for config/path.yaml"
    digest = hashlib.sha256(CONTENTS["config/path.yaml"]).hexdigest()
    assert f": 3 files, 48.0 MiB, complete, {unknown}, in {harness.target}/current (fetched" in done.out
    assert f"spec.source.http.files: `sha256: {digest}` for config/path.yaml\n" in done.err
    again = await harness.pull("--json")
    [result] = again.events("result")
    assert (result["checksum"], digest in result["notes"]) == ("unknown", True)
    assert (await verified(harness)).out.endswith(f", all intact, {unknown}\n")
    shown = await ended(
        await asyncio.create_subprocess_exec(
            *(MODELFERRY, "inspect", str(harness.target)),
            stdout=asyncio.subprocess.PIPE,
            stderr=asyncio.subprocess.PIPE,
        )
    )
    assert f"2 of 3 files verified, {unknown}" in shown.out
    artifact.write_text(
        artifact.read_text().replace("path: config/path.yaml", f"path: config/path.yaml\n        sha256: {digest}")
    )
    assert "complete and verified" in (await harness.pull()).out


async def test_damage_is_reported_with_its_location_and_only_it_is_repaired(harness: CommandHarness) -> None:
    await harness.pull("--quiet")
    damaged = harness.target / "current" / "asset" / "model.safetensors"
    damaged.chmod(0o644)
    with damaged.open("r+b") as file:
        file.seek(CHUNK_SIZE + 5)
        file.write(b"damaged")
    done = await verified(harness)
    assert (done.code, done.out) == (4, "")
    assert "1 of 3 files differ from what was published: asset/model.safetensors is damaged" in done.err
    assert "damaged in 1 chunk of 16 MiB (number 1)" in done.err
    assert "with --repair FILE.yaml" in done.err
    [result] = (await verified(harness, "--json")).events("result")
    assert [file["bad_chunks"] for file in result["files"]] == [[1], [], []]

    harness.origin.entries.clear()
    done = await verified(harness, *REPAIR, "--json")
    [result] = done.events("result")
    assert (done.code, done.err, result["ok"]) == (0, "", True)
    assert result["repaired"] == {"files": ["asset/model.safetensors"], "fetched": CHUNK_SIZE, "retries": 0}
    # That chunk alone, in one part or several, no byte twice.
    parts = sorted(entry.span for entry in harness.origin.entries if entry.sent > 1 and entry.span)
    assert [parts[0][0], *(end for _, end in parts)] == [*(start for start, _ in parts), 2 * CHUNK_SIZE]
    assert parts[0][0] == CHUNK_SIZE
    assert (await verified(harness)).code == 0
    assert harness.current() == CONTENTS


async def test_an_intact_model_is_not_repaired_and_its_source_not_queried(harness: CommandHarness) -> None:
    await harness.pull("--quiet")
    harness.origin.entries.clear()
    done = await verified(harness, *REPAIR)
    assert (done.code, done.err) == (0, "")
    assert "3 files, 48.0 MiB, all intact" in done.out
    assert not harness.origin.entries


async def test_damage_that_cannot_be_repaired_is_reported_with_the_reason_and_not_changed(
    harness: CommandHarness,
) -> None:
    await harness.pull("--quiet")
    (harness.target / "current" / "config" / "path.yaml").write_bytes(b"x")
    harness.origin.script.add(Rule(status=404))
    done = await verified(harness, *REPAIR, "--json")
    assert done.code == 3
    assert done.err.startswith("modelferry: NotFound: ")
    [result] = done.events("result")
    assert [file["state"] for file in result["files"]] == ["ok", "resized", "ok"]
    assert (harness.target / "current" / "config" / "path.yaml").read_bytes() == b"x"

    harness.origin.script.clear()
    done = await verified(harness, *REPAIR)
    assert done.code == 0
    assert "1 file repaired, fetched 27 bytes: config/path.yaml is resized; now all 48.0 MiB are intact" in done.out
    assert harness.current() == CONTENTS


async def test_a_repair_uses_the_mirrors_and_the_limits(
    harness: CommandHarness, monkeypatch: pytest.MonkeyPatch
) -> None:
    seen: list[tuple[int | None, int | None, tuple[str, ...], float]] = []

    async def watched(
        directory: Path, report: RevisionReport, source: Manifest, http_client: HTTPClient, settings: Settings
    ) -> RepairResult:
        standings = tuple(mirror.name for mirror in settings.mirrors)
        limits = http_client.throttle.limit, http_client.throttle.for_mirror("near").limit
        seen.append((*limits, standings, settings.progress_deadline))
        return await repair(directory, report, source, http_client, settings)

    parser = argparse.ArgumentParser()
    verify.add_arguments(parser)
    monkeypatch.setattr("modelferry.cli.verify.repair", watched)
    await harness.pull("--quiet")
    (harness.target / "current" / "config" / "path.yaml").write_bytes(b"x")
    leaf = harness.authority.leaf("127.0.0.1").context()
    async with HostileOrigin(CONTENTS, tls=leaf) as near:
        file = harness.write(bandwidth="8Mbit", progressDeadline="77s")
        with_mirror(file, near.url("{path}"), bandwidth="1MB")
        words = [str(harness.target), "--repair", str(file), "--ca-file", str(harness.authority.ca_file)]
        for more in ([], ["--bandwidth", "2MB"]):
            assert await asyncio.to_thread(verify.main, parser.parse_args([*words, *more])) == 0
            assert [entry.path for entry in near.entries if entry.sent > 1] == ["/config/path.yaml"]
            assert harness.current() == CONTENTS
            near.entries.clear()
            (harness.target / "current" / "config" / "path.yaml").write_bytes(b"x")
    told = ("near", "source"), 77.0
    assert seen == [(1_000_000, 1_000_000, *told), (2_000_000, 1_000_000, *told)]


async def test_a_directory_without_a_model_cannot_be_verified(harness: CommandHarness) -> None:
    harness.target.mkdir()
    done = await verified(harness)
    assert done.code == 2
    assert done.err.startswith("modelferry: NotPublished: ")
