"""The interface between the fetching side and the checkpoint, in whichever process that is. Files are numbered as in
the manifest."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Protocol

from modelferry.errors import ModelferryError
from modelferry.manifest import Manifest
from modelferry.messages import MirrorProgress
from modelferry.messages.earlier_revisions import RetainedRevision

#: Counts and seconds by (operation, mirror). A server behavior (docs/hostile-servers.md) is an operation by its
#: label. The mirror is "" for this machine's own work.
StatTotals = dict[tuple[str, str], tuple[int, float]]


@dataclass(frozen=True, slots=True)
class OpenedFile:
    """The recovered state of one file. ``missing``: indices of the chunks to fetch. ``validators``: the distinct
    (mirror, validator) pairs of the chunks that are done. ``verified``: the digest of the file was compared."""

    generation: int
    verified: bool
    missing: tuple[int, ...]
    validators: tuple[tuple[str, str], ...] = ()


@dataclass(frozen=True, slots=True)
class QuarantinedMirror:
    """A mirror that served corrupt data. ``url``: of the file that showed it, without the query. ``why``: the rest of a
    sentence that begins with "which"."""

    mirror: str
    url: str
    why: str


@dataclass(frozen=True, slots=True)
class OpenResult:
    """The recovered and preallocated directory. ``published``: nothing is left to do. ``rehashed``: chunks that were
    hashed again after an unclean boot. ``notes``: messages for a person (a damaged file was set aside).
    ``quarantined``: mirrors that served corrupt data of this revision to earlier processes. ``retained``: the earlier
    revisions on the disk."""

    root: str
    published: bool
    files: tuple[OpenedFile, ...]
    rehashed: int = 0
    notes: tuple[str, ...] = ()
    quarantined: tuple[QuarantinedMirror, ...] = ()
    retained: tuple[RetainedRevision, ...] = ()


@dataclass(frozen=True, slots=True)
class WrittenChunk:
    """A chunk that was written to its file, but is not durable. ``inode``: of the file that was written to.
    ``digests``: those that the server declared for its responses, as (start, end, SHA-256 in hex) with file offsets
    within the chunk. They may overlap."""

    file: int
    index: int
    generation: int
    inode: int
    validator: str
    mirror: str
    digests: tuple[tuple[int, int, str], ...] = ()


@dataclass(frozen=True, slots=True)
class CommitResult:
    """The result for a WrittenChunk. ``committed``: its row in chunks.db is durable. Otherwise ``reason`` is
    ``digest`` (the bytes differ from a digest that the server declared), ``stale`` (another generation or inode) or
    ``disk`` (the chunk could not be read back or synced). ``changed``: the chunk was done before, with other bytes."""

    committed: bool
    reason: str = ""
    changed: bool = False


@dataclass(frozen=True, slots=True)
class VerifyResult:
    """The result of comparing a file's digest. ``missing``: chunks that are not done, or whose bytes on the disk differ
    from what was committed; they are pending now. If it is empty, the file is ``verified``, or ``expected`` and
    ``actual`` differ. In the latter case, ``mirrors`` lists the mirrors that delivered the chunks, in order, as
    (mirror, count) runs; it is empty if that is unknown. ``mistaken``: what the content plainly is instead of the file
    (`mistaken_content`), if no digest is declared or it differs."""

    verified: bool
    expected: str = ""
    actual: str = ""
    missing: tuple[int, ...] = ()
    mirrors: tuple[tuple[str, int], ...] = ()
    mistaken: str = ""


@dataclass(frozen=True, slots=True)
class Telemetry:
    """What only the fetching side knows. ``in_flight``: bytes received that no row has yet. ``connections``: open now.
    ``retries``: so far. ``fetched``: bytes received over the network. ``phase``: fetching, repairing or paused (while
    ``limit`` is 0). ``message``: for people. ``active``: (path, offset) of the last write to each open file.
    ``stats``: (operation, mirror, count, seconds) since the start of the process. ``mirrors``: by preference.
    ``limit``: bytes per second that may be received; None means no limit."""

    in_flight: int = 0
    connections: int = 0
    retries: int = 0
    fetched: int = 0
    phase: str = "fetching"
    message: str = ""
    active: tuple[tuple[str, int], ...] = ()
    stats: tuple[tuple[str, str, int, float], ...] = ()
    mirrors: tuple[MirrorProgress, ...] = ()
    limit: int | None = None


class Checkpoint(Protocol):
    """Every method is idempotent: it states what shall be true, so a caller that lost the answer calls it again.

    All methods raise the errors of `modelferry.errors`; MachineError if the disk fails.
    """

    async def open(self, manifest: Manifest) -> OpenResult:
        """Lock, recover and preallocate. Raises ForeignDirectory, DirectoryBusy, InsufficientSpace, DamagedState."""

    async def commit_chunk(self, chunk: WrittenChunk) -> CommitResult:
        """Read the chunk back, compare its digests, sync it and commit its row."""

    async def mark_pending(self, file: int, index: int) -> None:
        """Make a chunk pending, so that it may be overwritten. Its digest is kept for `CommitResult.changed`."""

    async def restart_file(self, file: int, generation: int) -> OpenedFile:
        """Replace `generation` of a file with the next one, all chunks pending. The caller closes the old file first,
        and opens the new one."""

    async def verify_file(self, file: int) -> VerifyResult:
        """Compare the digest of a file whose chunks are all done."""

    async def quarantine(self, found: QuarantinedMirror) -> None:
        """Record a quarantined mirror for later processes that fetch this revision."""

    async def publish(self) -> tuple[RetainedRevision, ...]:
        """Make the revision visible to consumers. Every file is verified. Returns the earlier revisions that stay."""

    async def report_telemetry(self, telemetry: Telemetry) -> None:
        """Replace the state of the fetching side that progress reports show."""

    async def report_failure(self, error: ModelferryError) -> None:
        """Show `error`, with which the download ended, until it continues."""
