"""What the coordinator has to do because of an event: everything that takes time, or reaches the checkpoint."""

from __future__ import annotations

from dataclasses import dataclass

from modelferry.checkpoint.api import QuarantinedMirror
from modelferry.engine.download.file_download import FileDownload
from modelferry.engine.download.tasks import RangeTask
from modelferry.manifest import Chunk


@dataclass(frozen=True, slots=True)
class WithdrawChunk:
    """Cancel the attempts at a chunk; then `ChunkWithdrawn`."""

    file: FileDownload
    chunk: Chunk
    retry: RangeTask


@dataclass(frozen=True, slots=True)
class CancelAttempts:
    """Cancel all attempts at a file; then `AttemptsCancelled`."""

    file: FileDownload


@dataclass(frozen=True, slots=True)
class RestartFile:
    """Cancel all attempts at a file, and have the checkpoint begin a new generation; then `GenerationOpened`."""

    file: FileDownload


@dataclass(frozen=True, slots=True)
class CompareDigest:
    """Have the checkpoint compare the digest of a file."""

    file: FileDownload


@dataclass(frozen=True, slots=True)
class QuarantineMirror:
    """Have the checkpoint record a mirror that served corrupt data."""

    found: QuarantinedMirror


Command = WithdrawChunk | CancelAttempts | RestartFile | CompareDigest | QuarantineMirror
