"""A checkpoint whose answers are given."""

from __future__ import annotations

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
from modelferry.manifest import Manifest
from modelferry.messages.earlier_revisions import RetainedRevision


class StubCheckpoint:
    """Commits every chunk, and answers `verify_file` with `verified`. ``restarted``: the numbers of the files that were
    restarted. ``quarantined``: the mirrors that were."""

    def __init__(self, verified: VerifyResult) -> None:
        self.verified = verified
        self.restarted: list[int] = []
        self.quarantined: list[QuarantinedMirror] = []

    async def open(self, manifest: Manifest) -> OpenResult:
        """See api.Checkpoint."""
        raise AssertionError("a test opens its files itself")

    async def commit_chunk(self, chunk: WrittenChunk) -> CommitResult:
        """See api.Checkpoint."""
        return CommitResult(True)

    async def mark_pending(self, file: int, index: int) -> None:
        """See api.Checkpoint."""

    async def restart_file(self, file: int, generation: int) -> OpenedFile:
        """See api.Checkpoint."""
        self.restarted.append(file)
        return OpenedFile(generation + 1, False, (0,))

    async def verify_file(self, file: int) -> VerifyResult:
        """See api.Checkpoint."""
        return self.verified

    async def quarantine(self, found: QuarantinedMirror) -> None:
        """See api.Checkpoint."""
        self.quarantined.append(found)

    async def publish(self) -> tuple[RetainedRevision, ...]:
        """See api.Checkpoint."""
        return ()

    async def report_telemetry(self, telemetry: Telemetry) -> None:
        """See api.Checkpoint."""

    async def report_failure(self, error: ModelferryError) -> None:
        """See api.Checkpoint."""
