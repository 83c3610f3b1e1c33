"""Downloads onto a real file system that lacks what those of Linux have: exFAT, as on a memory card."""

from __future__ import annotations

import os
import shutil
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

from modelferry.agent.directories import create_directory, remove_directory
from modelferry.agent.wait import check_model
from modelferry.checkpoint.ready_marker import ReadyMarker
from modelferry.engine.download.coordinator import Settings
from modelferry.errors import DiskError
from modelferry.http.client import HTTPClient
from modelferry.http.routes import Route, Routes
from modelferry.http.tls.contexts import client_context
from modelferry.maintenance.repair import locked, repair
from modelferry.maintenance.revision_check import verify
from modelferry.manifest.entries import content_addressed
from network.harness import CHUNK, DownloadHarness, Serve, entry

pytestmark = pytest.mark.usefixtures("small_chunks")

#: mkfs and mount are there, where root's are.
_PATH = f"{os.environ.get('PATH', '')}:/usr/sbin:/sbin"


@pytest.fixture
def exfat(tmp_path: Path) -> Iterator[Path]:
    """The root of an exFAT file system of 64 MiB."""
    if os.geteuid() != 0 or not (
        shutil.which("mkfs.exfat", path=_PATH) and shutil.which("mount.exfat-fuse", path=_PATH)
    ):
        pytest.skip("mounting exFAT needs root, exfatprogs and exfat-fuse")
    image, mount = tmp_path / "image", tmp_path / "mount"
    mount.mkdir()
    with image.open("wb") as file:
        file.truncate(64 << 20)

    def run(*command: str | Path) -> str:
        environment = os.environ | {"PATH": _PATH}
        return subprocess.run(command, env=environment, check=True, capture_output=True, text=True).stdout.strip()

    run("mkfs.exfat", image)
    device = run("losetup", "--find", "--show", image)
    try:
        run("mount.exfat-fuse", device, mount, "-o", "noatime")
    finally:
        run("losetup", "--detach", device)  # when it is unmounted, if it is mounted
    try:
        yield mount
    finally:
        run("umount", mount)


def test_a_nodes_directory_on_exfat_needs_the_right_owner_of_the_mount(exfat: Path) -> None:
    create_directory(exfat, "speech", "chattts", uid=0, gid=0)
    with pytest.raises(
        DiskError, match=r"the file system has no owners .* belongs to user 0; mount it with uid=65532,"
    ):
        create_directory(exfat, "speech", "chattts", uid=65532, gid=65532)
    remove_directory(exfat, "speech", "chattts")
    assert not (exfat / "speech").exists()


async def test_a_model_is_downloaded_updated_and_repaired_on_exfat(
    exfat: Path, harness: DownloadHarness, serve: Serve, data: bytes
) -> None:
    """huggingface/huggingface_hub#2399: no symbolic links, and neither hard links, modes nor upper-case names."""
    harness.directory = exfat / "model"
    current = harness.directory / "current"
    async with serve({"a": data, "b": data[::-1]}) as origin:
        first, second = entry("d/a", data, origin.url("a")), entry("d/a", data[::-1], origin.url("b"))
        result = await harness.pull(first)
        assert "this file system has no symbolic links, so current is a directory" in result.notes[0]
        assert ((current / "d" / "a").read_bytes(), current.is_symlink()) == (data, False)
        asked = len(origin.entries)
        assert (await harness.pull(first)).fetched == 0
        await harness.pull(second)
        assert (current / "d" / "a").read_bytes() == data[::-1]
        await harness.pull(first)
        assert (current / "d" / "a").read_bytes() == data
        assert len(origin.entries) == 2 * asked, "the first revision was still there"
        harness.corrupt(current / "d" / "a", CHUNK + 5)
        assert verify(harness.directory).damaged[0].bad_chunks == (1,)
        with locked(harness.directory):
            http_client = HTTPClient(Routes(Route(client_context(harness.ca_file))), harness.limits)
            report, settings = verify(harness.directory), Settings(harness.connections)
            repaired = await repair(harness.directory, report, content_addressed((first,)), http_client, settings)
        assert (repaired.files, repaired.fetched) == (("d/a",), CHUNK)
        assert verify(harness.directory).ok
        (current / "d" / "a").unlink()
        await harness.pull(first)
    assert (current / "d" / "a").read_bytes() == data
    assert verify(harness.directory).ok
    assert isinstance(check_model(harness.directory, None), ReadyMarker)


@pytest.mark.parametrize(
    ("paths", "named"),
    [
        (("Tokenizer.json", "tokenizer.json"), "ignores case: Tokenizer.json and tokenizer.json are one name there"),
        (("a:b", "c"), "cannot have a file with the name 'a:b'"),
    ],
)
async def test_names_that_exfat_cannot_have_are_told_before_the_first_byte(
    exfat: Path, harness: DownloadHarness, serve: Serve, paths: tuple[str, str], named: str
) -> None:
    harness.directory = exfat / "model"
    async with serve({"a": b"x"}) as origin:
        with pytest.raises(DiskError) as raised:
            await harness.pull(*(entry(path, b"x", origin.url("a")) for path in paths))
        assert origin.entries == []
    assert named in raised.value.message
    assert "use a directory on another file system" in raised.value.message
