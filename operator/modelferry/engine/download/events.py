"""What happens in a download. Attempts never change its state: they emit facts while they run, and end as an outcome;
`OutcomeHandler.apply` is the one place where a state changes because of it.

An attempt that fails is a value, not an error, unless no further attempt could help (the disk, the checkpoint).
"""

from __future__ import annotations

from dataclasses import dataclass

from modelferry.checkpoint.api import OpenedFile, OpenResult, VerifyResult
from modelferry.engine.download.attempt import Assignment, Attempt
from modelferry.engine.download.file_download import ChunkAssembly, FileDownload, LocationState, Provenance
from modelferry.engine.download.tasks import RangeTask
from modelferry.engine.verdicts import Verdict
from modelferry.errors import Stalled
from modelferry.http.wire import Origin
from modelferry.manifest import Chunk, Manifest

# Facts that an attempt emits while it runs. They are applied at once: what it does next depends on them.


@dataclass(frozen=True, slots=True)
class ResponseAccepted:
    """A response with content, whose head arrived after `waited` seconds; ``redirect_url``: from another URL than the
    location's own. ``validator``: its strong one, or empty."""

    location: LocationState
    waited: float
    redirect_url: str
    validator: str = ""


@dataclass(frozen=True, slots=True)
class RedirectExpired:
    """What a location had redirected to refuses requests."""

    location: LocationState


@dataclass(frozen=True, slots=True)
class PartAccepted:
    """The content of a range that begins to arrive may be joined with what is held of its chunk."""

    attempt: Attempt
    provenance: Provenance
    ranged: bool


@dataclass(frozen=True, slots=True)
class BytesWritten:
    """All bytes of a range are in the file; ``digest``: what the server declared for its response, as in
    `WrittenChunk`."""

    attempt: Attempt
    digest: tuple[int, int, str] | None


@dataclass(frozen=True, slots=True)
class ChunkCommitted:
    """Chunk `index` is committed; ``changed``: it was committed before, with other bytes. A fact of a stream, and the
    outcome of a range."""

    attempt: Attempt
    index: int
    changed: bool = False


# What an attempt ends as.


@dataclass(frozen=True, slots=True)
class ChunkRejected:
    """The checkpoint did not commit a chunk; ``reason`` as in `CommitResult`."""

    attempt: Attempt
    reason: str


@dataclass(frozen=True, slots=True)
class PartWritten:
    """Part of a chunk is written, and others are still to arrive."""

    attempt: Attempt


@dataclass(frozen=True, slots=True)
class VersionConflict:
    """The content that begins to arrive cannot be joined with what is held of its chunk (`ChunkAssembly.can_join`)."""

    attempt: Attempt


@dataclass(frozen=True, slots=True)
class AttemptFailed:
    """An attempt failed. The range is good up to file offset ``kept``; ``cause``: the typed error behind the verdict,
    if there is one. Of a stream, ``progressed``: chunks were committed."""

    attempt: Attempt
    verdict: Verdict
    kept: int = 0
    cause: Stalled | None = None
    progressed: bool = False


@dataclass(frozen=True, slots=True)
class Requeued:
    """A pipelined request got no response, or one that may be that of another request."""

    attempt: Attempt


@dataclass(frozen=True, slots=True)
class StreamCompleted:
    """A stream arrived completely; ``stale``: the checkpoint has another generation of the file."""

    attempt: Attempt
    stale: bool


@dataclass(frozen=True, slots=True)
class DigestCompared:
    """The checkpoint compared the digest of a file whose chunks are all committed."""

    file: FileDownload
    result: VerifyResult


@dataclass(frozen=True, slots=True)
class ProbeCompleted:
    """A mirror was asked for one byte; ``message`` says what was wrong, as the end of a sentence, or is empty."""

    mirror: str
    message: str = ""


# What the coordinator does.


@dataclass(frozen=True, slots=True)
class DownloadOpened:
    """The checkpoint has opened the directory."""

    manifest: Manifest
    opened: OpenResult


@dataclass(frozen=True, slots=True)
class ConnectionOpened:
    """A connection to a server was opened; its round trip took `rtt` seconds."""

    origin: Origin
    rtt: float


@dataclass(frozen=True, slots=True)
class TimePassed:
    """Something may be due; ``paused``: the bandwidth limit lets nothing pass at the moment."""

    paused: bool


@dataclass(frozen=True, slots=True)
class AttemptStarted:
    """An attempt begins, at what the scheduler assigned to it."""

    attempt: Attempt
    assignment: Assignment


@dataclass(frozen=True, slots=True)
class ProbeStarted:
    """A mirror is asked for one byte; no other probe before clock reading `until`."""

    mirror: str
    until: float


@dataclass(frozen=True, slots=True)
class AttemptEnded:
    """An attempt has ended by itself; its outcome follows."""

    attempt: Attempt


@dataclass(frozen=True, slots=True)
class ChunkTooSlow:
    """Another mirror, with nothing else to do, would fetch a chunk sooner than its own mirror fetches the rest."""

    file: FileDownload
    assembly: ChunkAssembly


@dataclass(frozen=True, slots=True)
class ChunkWithdrawn:
    """The attempts at a chunk are cancelled; ``retry``: what is to be fetched instead, unless it is committed."""

    file: FileDownload
    chunk: Chunk
    retry: RangeTask


@dataclass(frozen=True, slots=True)
class AttemptsCancelled:
    """All attempts at a file are cancelled, and it goes on."""

    file: FileDownload


@dataclass(frozen=True, slots=True)
class GenerationOpened:
    """All attempts at a file are cancelled, and the checkpoint has begun a new generation of it."""

    file: FileDownload
    opened: OpenedFile


#: What an attempt ends as.
Outcome = (
    ChunkCommitted
    | ChunkRejected
    | PartWritten
    | VersionConflict
    | AttemptFailed
    | Requeued
    | StreamCompleted
    | DigestCompared
    | ProbeCompleted
)
Fact = ResponseAccepted | RedirectExpired | PartAccepted | BytesWritten | ChunkCommitted
Event = (
    Outcome
    | Fact
    | DownloadOpened
    | ConnectionOpened
    | TimePassed
    | AttemptStarted
    | ProbeStarted
    | AttemptEnded
    | ChunkTooSlow
    | ChunkWithdrawn
    | AttemptsCancelled
    | GenerationOpened
)
