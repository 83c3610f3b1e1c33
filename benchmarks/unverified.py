"""A checkpoint agent that verifies and syncs nothing: ``--data DIR --manifest FILE --socket PATH``.

It replaces ``modelferry agent checkpoint`` to measure the cost of verification and durability. No chunk is read back,
hashed, synced or recorded, and a crash loses everything.
"""

from __future__ import annotations

import argparse
import asyncio
import os
import signal
from pathlib import Path

from modelferry.agent.checkpoint_rpc import CheckpointServer
from modelferry.agent.manifest_file import read_manifest
from modelferry.checkpoint.api import (
    CommitResult,
    OpenedFile,
    OpenResult,
    QuarantinedMirror,
    Telemetry,
    VerifyResult,
    WrittenChunk,
)
from modelferry.errors import ModelferryError
from modelferry.manifest import Manifest, chunks_of
from modelferry.messages.earlier_revisions import RetainedRevision
from modelferry.storage import layout


class UnverifiedCheckpoint:
    """Implements checkpoint.api.Checkpoint without any check."""

    def __init__(self, root: Path) -> None:
        self._root = root
        self._revision = ""
        self._files: tuple[OpenedFile, ...] = ()

    async def open(self, manifest: Manifest) -> OpenResult:
        """Preallocate every file."""
        self._revision = manifest.revision
        for entry in manifest.files:
            path = self._root / layout.incoming_path(manifest.revision, entry.path)
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
        """Accept without a check."""
        return CommitResult(True)

    async def mark_pending(self, file: int, index: int) -> None:
        """No state to change."""

    async def restart_file(self, file: int, generation: int) -> OpenedFile:
        """Report all chunks as missing."""
        return self._files[file]

    async def verify_file(self, file: int) -> VerifyResult:
        """Accept without a check."""
        return VerifyResult(True)

    async def quarantine(self, found: QuarantinedMirror) -> None:
        """No mirror is ever quarantined."""

    async def publish(self) -> tuple[RetainedRevision, ...]:
        """Rename the files to where the benchmark expects them."""
        (self._root / layout.REVISIONS).mkdir()
        (self._root / layout.incoming_path(self._revision)).rename(self._root / layout.published_path(self._revision))
        (self._root / layout.CURRENT).symlink_to(layout.published_path(self._revision))
        return ()

    async def report_telemetry(self, telemetry: Telemetry) -> None:
        """Ignore it."""

    async def report_failure(self, error: ModelferryError) -> None:
        """Ignore it."""


async def serve(data: Path, manifest: Manifest, socket: Path) -> None:
    """Serve until SIGTERM."""
    stop = asyncio.Event()
    asyncio.get_running_loop().add_signal_handler(signal.SIGTERM, stop.set)
    server = CheckpointServer(UnverifiedCheckpoint(data), manifest)
    await server.start(socket)
    await stop.wait()
    await server.close()


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__)
    for name in ("data", "manifest", "socket"):
        parser.add_argument(f"--{name}", type=Path, required=True)
    args = parser.parse_args()
    asyncio.run(serve(args.data, read_manifest(args.manifest), args.socket))
