"""``modelferry wait`` as the process that an init container runs."""

from __future__ import annotations

import asyncio
import sys
from pathlib import Path

import pytest

from modelferry.checkpoint.ready_marker import ReadyFile, ReadyMarker

pytestmark = pytest.mark.network

READY = ReadyMarker("r1", "sha256:0", 5, 0.0, (ReadyFile("a.bin", 5, "sha256:0", "verified"),))


async def started(*words: str) -> asyncio.subprocess.Process:
    return await asyncio.create_subprocess_exec(
        *(str(Path(sys.executable).with_name("modelferry")), "wait", *words),
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.PIPE,
    )


async def first_line(process: asyncio.subprocess.Process) -> str:
    assert process.stdout is not None
    return (await process.stdout.readline()).decode()


async def test_wait_ends_when_the_model_is_published(tmp_path: Path) -> None:
    process = await started(str(tmp_path))
    assert await first_line(process) == (
        f"modelferry: waiting for the model in {tmp_path} since 0 s: nothing is published there yet\n"
    )
    (tmp_path / "a.bin").write_bytes(b"whole")
    (tmp_path / ".modelferry-ready.json").write_bytes(READY.encode())
    out, err = await process.communicate()
    assert (process.returncode, out, err) == (0, b"modelferry: ready: revision r1, 1 file, 5 bytes\n", b"")


async def test_wait_fails_after_the_timeout(tmp_path: Path) -> None:
    process = await started(str(tmp_path), "--timeout", "0.1")
    _, err = await process.communicate()
    assert process.returncode == 4
    assert err.decode().startswith(f"modelferry: NotReady: {tmp_path}: not ready after 0.1 s: nothing is published")


async def test_sigterm_ends_wait_at_once(tmp_path: Path) -> None:
    process = await started(str(tmp_path))
    await first_line(process)
    process.terminate()
    assert await asyncio.wait_for(process.wait(), 10) == 143
    _, err = await process.communicate()
    assert err == b""
