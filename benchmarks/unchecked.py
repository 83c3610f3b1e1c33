"""A checkpoint that checks nothing and makes nothing durable: ``--data DIR --manifest FILE --socket PATH``.

It stands in for ``modelferry agent checkpoint`` to show what that one's work costs, and for nothing else: no chunk is
read back, hashed, synced or recorded, and a crash loses everything.
"""

from __future__ import annotations

import argparse
import asyncio
import os
import signal
from pathlib import Path

from modelferry.agent.checkpoint_rpc import CheckpointServer
from modelferry.agent.manifest_file import read_manifest
from modelferry.engine.checkpoint.api import (
    CommitResult,
    OpenedFile,
    OpenResult,
    QuarantinedMirror,
    Telemetry,
    VerifyResult,
    WrittenChunk,
)
from modelferry.engine.storage import layout
from modelferry.errors import ModelferryError
from modelferry.manifest import Manifest, chunks_of


class Unchecked:
    """Implements engine.checkpoint.api.Checkpoint by believing every word."""

    def __init__(self, root: Path) -> None:
        self._root = root
        self._revision = ""
        self._files: tuple[OpenedFile, ...] = ()

    async def open(self, manifest: Manifest) -> OpenResult:
        """Every file at its place and of its size, nothing in it."""
        self._revision = manifest.revision
        for entry in manifest.files:
            path = self._root / layout.incoming(manifest.revision, entry.path)
            path.parent.mkdir(parents=True, exist_ok=True)
            with path.open("wb") as file:
                if entry.size:
                    os.posix_fallocate(file.fileno(), 0, entry.size)
        self._files = tuple(
            OpenedFile(0, False, tuple(chunk.index for chunk in chunks_of(number, entry.size)))
            for number, entry in enumerate(manifest.files)
        )
        return OpenResult(str(self._root), False, self._files)

    async def commit_chunk(self, chunk: WrittenChunk) -> CommitResult:
        """Believed."""
        return CommitResult(True)

    async def mark_pending(self, file: int, index: int) -> None:
        """Nothing is known of the chunk anyway."""

    async def restart_file(self, file: int, generation: int) -> OpenedFile:
        """All of it is missing."""
        return self._files[file]

    async def verify_file(self, file: int) -> VerifyResult:
        """Believed."""
        return VerifyResult(True)

    async def quarantine(self, found: QuarantinedMirror) -> None:
        """Nothing is compared."""

    async def publish(self) -> None:
        """Where the benchmark looks for the files."""
        (self._root / layout.REVISIONS).mkdir()
        (self._root / layout.incoming(self._revision)).rename(self._root / layout.published(self._revision))
        (self._root / layout.CURRENT).symlink_to(layout.published(self._revision))

    async def report_telemetry(self, telemetry: Telemetry) -> None:
        """Nobody looks."""

    async def report_failure(self, error: ModelferryError) -> None:
        """Nobody looks."""


async def serve(data: Path, manifest: Manifest, socket: Path) -> None:
    """Until SIGTERM."""
    stop = asyncio.Event()
    asyncio.get_running_loop().add_signal_handler(signal.SIGTERM, stop.set)
    link = CheckpointServer(Unchecked(data), manifest)
    await link.start(socket)
    await stop.wait()
    await link.close()


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__)
    for name in ("data", "manifest", "socket"):
        parser.add_argument(f"--{name}", type=Path, required=True)
    given = parser.parse_args()
    asyncio.run(serve(given.data, read_manifest(given.manifest), given.socket))
