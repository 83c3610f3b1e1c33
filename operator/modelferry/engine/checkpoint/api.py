"""What the fetching side asks of the checkpoint, in whichever process that is. Files are numbered as in the
manifest."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Protocol

from modelferry.errors import ModelferryError
from modelferry.manifest import Manifest
from modelferry.messages import MirrorProgress


@dataclass(frozen=True, slots=True)
class OpenedFile:
    """One file as it was found: ``missing`` are the chunk indices still to be fetched, ``validators`` the distinct
    (mirror, validator) pairs that the others came with. ``verified``: its whole digest has been compared."""

    generation: int
    verified: bool
    missing: tuple[int, ...]
    validators: tuple[tuple[str, str], ...] = ()


@dataclass(frozen=True, slots=True)
class Quarantined:
    """A mirror served wrong bytes; ``url``: of the file that it was found by, without its query; ``why``: the end of a
    sentence."""

    mirror: str
    url: str
    why: str


@dataclass(frozen=True, slots=True)
class Opened:
    """The directory as it was found, preallocated. ``published``: nothing is left to do. ``rehashed``: chunks that were
    hashed again after an unclean boot. ``notes``: what a person should know (something damaged was set aside).
    ``quarantined``: mirrors that served wrong bytes of this revision in earlier attempts."""

    root: str
    published: bool
    files: tuple[OpenedFile, ...]
    rehashed: int = 0
    notes: tuple[str, ...] = ()
    quarantined: tuple[Quarantined, ...] = ()


@dataclass(frozen=True, slots=True)
class Written:
    """A chunk stands in its file. ``inode`` is the file's that was written to. ``digests`` are those that the server
    declared for what it sent: (start, end, SHA-256 in hex) of file offsets within the chunk; they may overlap."""

    file: int
    index: int
    generation: int
    inode: int
    validator: str
    mirror: str
    digests: tuple[tuple[int, int, str], ...] = ()


@dataclass(frozen=True, slots=True)
class Receipt:
    """The answer to Written. ``committed``: the row is durable; otherwise ``why``: ``digest`` (the bytes are not what
    the server declared), ``stale`` (of another generation or inode), ``disk`` (it could not be read back or synced).
    ``changed``: the chunk had been done before, with another digest."""

    committed: bool
    why: str = ""
    changed: bool = False


@dataclass(frozen=True, slots=True)
class Finish:
    """What a file's whole digest says. ``missing``: chunks that are not done, or whose bytes on the disk are not what
    was committed; they are pending now. Otherwise ``verified``, or ``expected`` and ``got`` differ; ``came_from`` are
    then the mirrors that brought the chunks, in order, as (mirror, count) runs; empty where that is not known."""

    verified: bool
    expected: str = ""
    got: str = ""
    missing: tuple[int, ...] = ()
    came_from: tuple[tuple[str, int], ...] = ()


@dataclass(frozen=True, slots=True)
class Telemetry:
    """What only the fetching side knows: bytes received that no row holds yet, open connections, retries so far,
    bytes that came over the network, the phase (fetching or repairing) and a line for people. ``active``: (path,
    offset) of what is being written to, where it was last written. ``mirrors`` by preference. ``costs``: (what, mirror,
    times, seconds) since the beginning, as in `engine.tally`. ``limit``: bytes per second that may be received; None
    for no limit. The phase is paused where it is 0."""

    in_flight: int = 0
    connections: int = 0
    retries: int = 0
    fetched: int = 0
    phase: str = "fetching"
    message: str = ""
    active: tuple[tuple[str, int], ...] = ()
    costs: tuple[tuple[str, str, int, float], ...] = ()
    mirrors: tuple[MirrorProgress, ...] = ()
    limit: int | None = None


class Checkpoint(Protocol):
    """Every method may be called again after its answer got lost: each says what it wants to be true, not what to do.

    All raise the errors of `modelferry.errors`; MachineError where the disk fails.
    """

    async def open(self, manifest: Manifest) -> Opened:
        """Lock, recover and preallocate. Raises ForeignDirectory, DirectoryBusy, InsufficientSpace, DamagedState."""

    async def written(self, report: Written) -> Receipt:
        """Read the chunk back, check, sync and commit it."""

    async def reopen(self, file: int, index: int) -> None:
        """Make a chunk pending, so that it may be overwritten; its digest is remembered for `Receipt.changed`."""

    async def restart(self, file: int, generation: int) -> OpenedFile:
        """Leave `generation` of a file behind, all chunks pending. The caller has closed it and opens it again."""

    async def finish(self, file: int) -> Finish:
        """Compare a file's whole digest."""

    async def quarantine(self, found: Quarantined) -> None:
        """Remember it for the attempts to come at this revision."""

    async def publish(self) -> None:
        """Make the revision visible; every file is verified."""

    async def tell(self, telemetry: Telemetry) -> None:
        """Pass on what is shown to people."""

    async def fail(self, error: ModelferryError) -> None:
        """The download ended with `error`: shown to people until it goes on."""
