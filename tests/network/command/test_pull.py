"""``modelferry pull``: the real command against real TLS servers on loopback."""

from __future__ import annotations

import hashlib
import json
import os
import shutil
import sqlite3
import subprocess
import sys
from collections.abc import Callable
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest

from modelferry.checkpoint.ready_marker import ReadyMarker
from modelferry.manifest import CHUNK_SIZE
from network.command.harness import CONNECTIONS, CONTENTS, SIZE, CommandHarness, with_mirror
from origin.rules import Rule
from origin.server import HostileOrigin

pytestmark = pytest.mark.skipif(sys.platform != "linux", reason="looks for the command's children in /proc")


async def test_the_complete_model_is_in_current(harness: CommandHarness) -> None:
    done = await harness.pull()
    assert done.code == 0
    assert harness.current() == CONTENTS
    assert "3 files, 48.0 MiB, complete and verified in" in done.out
    assert done.err.endswith(f": 3 files, 48.0 MiB, to {harness.target}\n")
    marker = ReadyMarker.decode((harness.target / "current" / ".modelferry-ready.json").read_bytes())
    assert {file.path: file.size for file in marker.files} == {path: len(data) for path, data in CONTENTS.items()}
    assert all(file.checksum == "verified" for file in marker.files)


@pytest.fixture(params=["C", "ISO-8859-1", "GBK"])
def locale(request: pytest.FixtureRequest, tmp_path: Path) -> dict[str, str]:
    """The environment of a locale that is not UTF-8; two are compiled, where the system has their sources."""
    if request.param == "C":
        return {"LC_ALL": "C", "PYTHONUTF8": "0", "PYTHONCOERCECLOCALE": "0"}
    compiler = shutil.which("localedef")
    if compiler is None or not Path("/usr/share/i18n/charmaps").is_dir():
        pytest.skip("no locale can be compiled here")
    (tmp_path / "locales").mkdir()
    subprocess.run([compiler, "-i", "POSIX", "-c", "-f", request.param, tmp_path / "locales" / "test"], check=False)
    environment = {"LC_ALL": "test", "LOCPATH": str(tmp_path / "locales")}
    show = [sys.executable, "-c", "import sys; print(sys.getfilesystemencoding())"]
    shown = subprocess.run(show, env=os.environ | environment, capture_output=True, text=True, check=True)
    assert shown.stdout.strip() == request.param.lower().replace("iso-", "iso")
    return environment


async def test_names_on_the_disk_are_utf_8_whatever_the_locale(harness: CommandHarness, locale: dict[str, str]) -> None:
    """CivitAI-Model-grabber#11: a name beyond the locale's encoding ended the download."""
    path = "\u6a21\u578b/mod\u00e8le\U0001f600.yaml"
    content = CONTENTS["config/path.yaml"]
    url, digest = harness.origin.url("config/path.yaml"), hashlib.sha256(content).hexdigest()
    artifact = harness.write(
        lambda files: files.__setitem__(slice(None), [{"path": path, "url": url, "sha256": digest}])
    )
    artifact.write_text(artifact.read_text() + f"# {path}\n", encoding="utf-8")
    done = await harness.pull(environment=locale)
    assert (done.code, "complete and verified" in done.out) == (0, True), done.err
    assert sys.getfilesystemencoding() == "utf-8", "in this process, or the names that follow are not compared as UTF-8"
    assert harness.current() == {path: content}
    assert (await harness.pull(environment=locale)).code == 0


async def test_a_second_pull_fetches_nothing(harness: CommandHarness) -> None:
    await harness.pull()
    before = harness.origin.sent()
    done = await harness.pull()
    assert done.code == 0
    assert f"is already in {harness.target}/current" in done.out
    assert harness.origin.sent() - before <= len(CONTENTS), "more than the first byte of each file"


async def test_json_output_has_the_progress_and_the_result(harness: CommandHarness) -> None:
    harness.origin.rate = 16e6
    done = await harness.pull("--json")
    result, *others = done.events("result")
    progress = done.events("progress")
    assert (done.code, done.err, others) == (0, "", [])
    assert json.loads(done.out.splitlines()[-1]) == result
    assert [event["done"] for event in progress] == sorted(event["done"] for event in progress)
    assert progress[-1]["phase"] == "published"
    assert (result["name"], result["files"], result["bytes"], result["fetched"]) == ("chattts", 3, SIZE, SIZE)
    assert result["revision"] == progress[-1]["revision"]
    assert result["digest"].startswith("sha256:")
    assert Path(result["directory"]) == harness.target / "current"
    assert result["speed"] == pytest.approx(SIZE / result["seconds"], rel=0.01)
    assert all(10 << 20 < peak < 100 << 20 for peak in result["peakMemory"].values()), result["peakMemory"]
    assert set(result["peakMemory"]) == {"fetch", "checkpoint"}


async def test_a_digest_mismatch_is_reported_with_both_digests_and_nothing_is_published(
    harness: CommandHarness,
) -> None:
    wrong = "0" * 64
    harness.write(lambda files: files[0].update(sha256=wrong))
    done = await harness.pull("--json")
    assert done.code == 3
    assert done.err.startswith("modelferry: DigestMismatch: asset/model.safetensors")
    assert wrong in done.err
    assert hashlib.sha256(CONTENTS["asset/model.safetensors"]).hexdigest() in done.err
    assert not (harness.target / "current").exists()
    [event] = done.events("error")
    assert (event["reason"], event["exitCode"], event["file"]) == ("DigestMismatch", 3, "asset/model.safetensors")


async def test_an_invalid_yaml_is_a_user_error_that_names_every_field(harness: CommandHarness) -> None:
    harness.write(
        lambda files: (files[0].update(path="../x"), files[1].update(size=-1), files[2].update(sha256="abc")),
        surprise=1,
    )
    done = await harness.pull()
    assert (done.code, done.out) == (2, "")
    for field in ("files[0].path", "files[1].size", "files[2].sha256", "spec.transfer.surprise"):
        assert field in done.err
    assert len(done.err.splitlines()) == 1
    assert harness.origin.accepted == 0


@pytest.mark.parametrize(
    ("change", "code", "said"),
    [
        (lambda files: files[0].update(url=files[0]["url"] + "x?sig=hunter2"), 3, "NotFound: asset/model.safetensors"),
        (lambda files: files[0].update(url="https://models.invalid/a?sig=hunter2"), 3, "UnknownHost: asset/model"),
        (lambda files: files[0].update(url="http://127.0.0.1:1/a?sig=hunter2"), 2, "PlainHTTPRefused: asset/model"),
        (lambda files: files[0].update(size=1), 3, "SizeMismatch: asset/model.safetensors"),
    ],
    ids=["404", "unknown host", "plain http", "size"],
)
async def test_an_unavailable_source_is_reported_before_the_download(
    harness: CommandHarness, change: Callable[[list[dict[str, Any]]], object], code: int, said: str
) -> None:
    harness.write(change)
    done = await harness.pull()
    assert (done.code, done.out) == (code, "")
    assert done.err.startswith(f"modelferry: {said}")
    assert "hunter2" not in done.err
    assert "Traceback" not in done.err
    # The first byte of each file, and the first kilobyte of the one with another size.
    assert harness.origin.sent() <= 1030


async def test_an_unavailable_source_is_not_needed_if_a_mirror_has_the_declared_files(harness: CommandHarness) -> None:
    published = (await harness.pull("--json")).events("result")[0]["revision"]
    shutil.rmtree(harness.target)
    file = harness.write(
        lambda files: [
            file.update(url="https://gone.invalid/" + file["path"], size=len(CONTENTS[file["path"]])) for file in files
        ]
    )
    with_mirror(file, harness.origin.url("{path}"))
    done = await harness.pull("--json")
    assert done.code == 0, done.err
    assert done.events("result")[0]["revision"] == published
    assert harness.current() == CONTENTS


async def test_a_wrong_size_is_reported_even_if_the_source_was_not_queried(harness: CommandHarness) -> None:
    file = harness.write(
        lambda files: [file.update(size=len(CONTENTS[file["path"]]) + (file is files[0])) for file in files]
    )
    with_mirror(file, harness.origin.url("{path}"))
    done = await harness.pull()
    assert done.code == 3
    assert done.err.splitlines()[-1].startswith("modelferry: SizeMismatch: asset/model.safetensors"), done.err


async def test_plain_http_is_used_if_it_is_allowed(harness: CommandHarness, model: Path) -> None:
    async with HostileOrigin(root=model) as plain:
        harness.write(
            lambda files: [file.update(url=plain.url(file["path"])) for file in files], tls={"allowPlainHTTP": True}
        )
        assert (await harness.pull()).code == 0
    assert harness.current() == CONTENTS


async def test_a_certificate_of_an_unknown_ca_is_refused_with_the_remedy(harness: CommandHarness) -> None:
    done = await harness.pull(trust=False)
    assert done.code == 3
    assert done.err.startswith("modelferry: UnknownAuthority: ")
    assert "add the authority to the trusted CA bundle" in done.err


async def test_ssl_cert_file_is_honoured_by_every_process(harness: CommandHarness) -> None:
    done = await harness.pull(trust=False, environment={"SSL_CERT_FILE": str(harness.authority.ca_file)})
    assert done.code == 0
    assert harness.current() == CONTENTS


@pytest.mark.parametrize(
    ("options", "said"),
    [
        (["--connections", "0"], "--connections: must be 1 to 128, not 0"),
        (["--connections", "129"], "--connections: must be 1 to 128, not 129"),
        (["--ca-file", "/nowhere.pem"], "CA bundle /nowhere.pem: "),
    ],
)
async def test_an_invalid_option_is_a_user_error(harness: CommandHarness, options: list[str], said: str) -> None:
    done = await harness.pull(*options)
    assert (done.code, done.out) == (2, "")
    assert said in done.err


async def test_the_option_for_connections_overrides_the_spec(harness: CommandHarness) -> None:
    harness.origin.rate = 8e6
    assert (await harness.pull("--connections", "4")).code == 0
    assert harness.origin.accepted > CONNECTIONS + 1 + len(CONTENTS)


@pytest.mark.parametrize("kind", ["file", "foreign"])
async def test_a_target_with_other_files_is_not_changed(harness: CommandHarness, kind: str) -> None:
    if kind == "file":
        harness.target.write_text("precious")
    else:
        harness.target.mkdir()
        (harness.target / "precious").write_text("precious")
    done = await harness.pull()
    assert done.code == 2
    assert done.err.splitlines()[-1].startswith("modelferry: ForeignDirectory: ")
    left = harness.target if kind == "file" else harness.target / "precious"
    assert left.read_text() == "precious"


@pytest.mark.parametrize("damage", ["garbage", "another version", "cut"])
async def test_an_unusable_database_is_renamed_and_verified_files_are_kept(
    harness: CommandHarness, damage: str
) -> None:
    await harness.pull("--quiet")
    database = harness.target / ".modelferry" / "chunks.db"
    if damage == "another version":
        with closing(sqlite3.connect(database)) as db, db:
            db.execute("UPDATE meta SET value = '99' WHERE key = 'schema'")
    else:
        database.write_bytes(b"not a database" * 1000 if damage == "garbage" else database.read_bytes()[:5000])
    harness.origin.entries.clear()
    done = await harness.pull()
    assert done.code == 0
    assert "it was set aside as chunks.db.damaged-1" in done.err + done.out
    assert database.with_name("chunks.db.damaged-1").exists()
    assert harness.origin.sent() <= len(CONTENTS), "more than the first byte of each file"
    assert harness.current() == CONTENTS


async def test_a_corrupt_chunk_does_not_restart_the_file(harness: CommandHarness) -> None:
    harness.origin.script.add(Rule(path="asset/*", covers=CHUNK_SIZE + 7, corrupt=CHUNK_SIZE + 7, times=1, first=1))
    done = await harness.pull("--json")
    assert done.code == 0
    assert harness.current() == CONTENTS
    assert harness.origin.sent() <= SIZE + 2 * CHUNK_SIZE + len(CONTENTS)
