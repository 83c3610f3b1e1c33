"""What the download knows of a file: its locations, how they behave, and which chunks are missing.

Only `OutcomeHandler.apply` changes these objects; attempts read them.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import NamedTuple

from modelferry.checkpoint.api import OpenedFile
from modelferry.engine.download.tasks import FetchTask, RangeTask, StreamTask
from modelferry.engine.download.transitions import (
    CHUNK_TRANSITIONS,
    ChunkAction,
    ChunkEvent,
    ChunkState,
    FileState,
)
from modelferry.engine.mirrors import CorruptionAttribution, LocationOption, SelectionRequest
from modelferry.engine.verdicts import Expectation
from modelferry.errors import Stalled
from modelferry.http.wire import Origin
from modelferry.manifest import Chunk, FileEntry, Location, chunks_of

#: Broken responses in a row that a location may send. One that has delivered before may send more: at 16 streams and
#: one response in five broken, 16 in a row do not happen (1 in 10^11), while 5 in a row at the start show a server that
#: cannot do better.
STRIKES_AT_FIRST, STRIKES = 5, 16
#: Entire files in a row, sent in response to ranges, before the file is fetched as one stream. The same reasoning.
IGNORED_AT_FIRST, IGNORED = 3, 24
#: The same for one chunk, whatever else its location delivers: with the backoff, a minute.
CHUNK_ATTEMPTS = 8
#: Responses with another validator that are not accepted, if a file with a digest has one location. One stale node of a
#: CDN sends few; if there are more, the nodes have different validators for the same file.
OTHER_VALIDATORS = 3


@dataclass(slots=True)
class LocationState:
    """One location of one file. ``redirect_url``: where it last redirected to; ``validator``: that of its responses.
    ``strikes`` and ``ignored``: broken responses and ignored ranges in a row. ``varied``: responses with another
    validator. ``delivered``: it has sent a good chunk. ``ranged``: it has sent a range that was requested. ``entire``:
    it sends the entire file alone, or its versions cannot be told apart; another location is asked for ranges.
    ``refused``: why it is not used any more."""

    location: Location
    redirect_url: str = ""
    validator: str | None = None
    strikes: int = 0
    ignored: int = 0
    varied: int = 0
    delivered: bool = False
    ranged: bool = False
    entire: bool = False
    refused: Stalled | None = None

    @property
    def mirror(self) -> str:
        """The name of its mirror."""
        return self.location.mirror

    @property
    def url(self) -> str:
        """As the manifest has it."""
        return self.location.url

    @property
    def request_url(self) -> str:
        """What the next request is sent to: the URL, or where that redirected to."""
        return self.redirect_url or self.location.url

    @property
    def origin(self) -> Origin:
        """The server of the manifest's URL."""
        return Origin.of(self.location.url)

    def strike(self, attempts: int) -> bool:
        """Count a broken response, to attempt number `attempts` at a chunk; True if it was the last one allowed."""
        self.strikes += 1
        return attempts >= CHUNK_ATTEMPTS or self.strikes >= (STRIKES if self.delivered else STRIKES_AT_FIRST)

    def ignore_range(self, attempts: int) -> bool:
        """Count an entire file in response to a range, at attempt number `attempts`; True if this location does not
        serve ranges."""
        self.ignored += 1
        return attempts >= CHUNK_ATTEMPTS or self.ignored >= (IGNORED if self.ranged else IGNORED_AT_FIRST)

    @property
    def has_sent(self) -> bool:
        """Has it sent bytes of the file?"""
        return self.delivered or self.ranged

    def keep_range(self) -> None:
        """Count a response with the range that was requested, before its bytes have arrived."""
        self.ignored, self.ranged = 0, True

    def deliver(self) -> None:
        """Count a good chunk."""
        self.strikes = 0
        self.delivered = True


class Provenance(NamedTuple):
    """Where bytes of a chunk are from, and which file on the disk has them."""

    mirror: str
    validator: str
    inode: int


@dataclass(slots=True)
class ChunkAssembly:
    """A chunk that is being fetched, in one or more parts. ``held``: bytes of it that are written; ``provenance``: of
    those. ``digests``: as in `WrittenChunk`. ``mirror``: which its parts are requested from while it is healthy."""

    chunk: Chunk
    mirror: str = ""
    held: int = 0
    provenance: Provenance | None = None
    digests: list[tuple[int, int, str]] = field(default_factory=list)
    state: ChunkState = ChunkState.FETCHING

    def can_join(self, task: RangeTask, provenance: Provenance) -> bool:
        """May the bytes of `task`, which have `provenance`, be joined with those that are held?

        Parts are of one mirror, one version and one file on the disk. Only a chunk that arrives one part after the
        other may be completed by another location: there the digest of the file decides, and a location that always
        breaks off would otherwise keep the chunk from ever being complete.
        """
        last = task.end == self.chunk.end and self.held == task.start - self.chunk.start
        return self.provenance in (None, provenance) or last


@dataclass(slots=True)
class FileDownload:
    """One file. ``missing``: indices of chunks that are not committed. ``compared``: how many chunks were fetched again
    to compare them, None while that is not necessary. ``streaming``: no location serves ranges, or tells versions
    apart. ``restarts`` and ``unsynced``: generations that changed at the source, or were lost on the disk.
    ``mismatch``: the expected and the computed digest, once they differed; ``mistaken``: what the content plainly was
    then; ``attribution``: which mirror is suspected.
    ``chosen``: the one location of a file without a digest. ``retry``: the task that a restarted file continues with,
    and from when. ``assemblies``: of the chunks that are being fetched."""

    number: int
    entry: FileEntry
    generation: int
    missing: set[int]
    state: FileState
    locations: list[LocationState]
    streaming: bool = False
    compared: int | None = None
    restarts: int = 0
    unsynced: int = 0
    mismatch: tuple[str, str] = ("", "")
    mistaken: str = ""
    attribution: CorruptionAttribution | None = None
    chosen: LocationState | None = None
    retry: tuple[StreamTask, float] | None = None
    chunks: list[Chunk] = field(default_factory=list)
    assemblies: dict[int, ChunkAssembly] = field(default_factory=dict)

    @classmethod
    def of(cls, number: int, entry: FileEntry, opened: OpenedFile) -> FileDownload:
        """As the checkpoint recovered it; the validator of its committed chunks is that of the missing ones."""
        locations = [LocationState(location) for location in entry.locations]
        if entry.digest is None:
            known = dict(opened.validators)
            for location in locations:
                location.validator = known.get(location.mirror)
            locations.sort(key=lambda location: location.validator is None)
        state = FileState.VERIFIED if opened.verified else FileState.FETCHING
        file = cls(number, entry, opened.generation, set(opened.missing), state, locations)
        file.chunks = list(chunks_of(number, entry.size))
        return file

    def begin_generation(self, opened: OpenedFile) -> None:
        """Begin again with what the checkpoint says of the new generation."""
        self.generation, self.missing = opened.generation, set(opened.missing)
        self.chosen = None
        self.assemblies.clear()
        for location in self.locations:
            location.validator = None

    def chunk_state(self, index: int) -> ChunkState:
        """The state of chunk `index`."""
        if (assembly := self.assemblies.get(index)) is not None:
            return assembly.state
        return ChunkState.PENDING if index in self.missing else ChunkState.COMMITTED

    def advance_chunk(self, index: int, event: ChunkEvent, size: int = 0) -> None:
        """`event` happens to chunk `index`; `size` bytes are written by it. Raises KeyError if that cannot be."""
        state, action = CHUNK_TRANSITIONS[self.chunk_state(index), event]
        match action:
            case ChunkAction.BEGIN:
                self.assemblies[index] = ChunkAssembly(self.chunks[index])
            case ChunkAction.ADD:
                self.assemblies[index].held += size
                self.assemblies[index].state = state
            case ChunkAction.DISCARD:
                self.assemblies.pop(index, None)
            case ChunkAction.DONE:
                self.assemblies.pop(index, None)
                self.missing.discard(index)
            case ChunkAction.MISSING:
                self.missing.add(index)

    @property
    def verified(self) -> bool:
        """Does its digest match?"""
        return self.state is FileState.VERIFIED

    @property
    def usable(self) -> list[LocationState]:
        """Locations that were not refused, by preference."""
        return [location for location in self.locations if location.refused is None]

    @property
    def suspect(self) -> str:
        """The mirror whose chunks are being compared with those of others; empty if none is suspected."""
        return self.attribution.suspect if self.attribution is not None and self.attribution.round else ""

    @property
    def options(self) -> tuple[LocationOption, ...]:
        """The usable locations, as a `MirrorSelector` needs them."""
        return tuple(
            LocationOption(one.mirror, one.origin, entire_only=one.entire, has_validator=one.validator is not None)
            for one in self.usable
        )

    def selection_request(self, task: FetchTask) -> SelectionRequest:
        """What a `MirrorSelector` needs to know of `task`."""
        assembly = self.assemblies.get(task.chunk.index) if isinstance(task, RangeTask) else None
        return SelectionRequest(
            self.options,
            task.chunk.size if isinstance(task, RangeTask) else task.size,
            has_digest=self.entry.digest is not None,
            is_stream=isinstance(task, StreamTask),
            chosen=self.chosen.mirror if self.chosen is not None else "",
            suspect=self.suspect,
            begun_by=assembly.mirror if assembly is not None else "",
            avoid=task.avoid if task.failures else "",
        )

    def at_mirror(self, mirror: str) -> LocationState:
        """Its usable location at `mirror`; raises StopIteration if there is none."""
        return next(location for location in self.usable if location.mirror == mirror)

    def expectation(self, location: LocationState, *, plain_http: bool) -> Expectation:
        """What a response from `location` is judged by."""
        # The manifest's is that of the first location, and says nothing of the others.
        mark = self.entry.validator if location.location == self.entry.locations[0] else ""
        # While chunks are compared, the known validator may be that of the wrong ones.
        may_be_one_node = location.varied < OTHER_VALIDATORS and self.compared is None
        return Expectation(
            size=self.entry.size,
            pinned=self.entry.digest is not None,
            validator=location.validator,
            mark=mark,
            alternatives=len(self.usable) > 1 or may_be_one_node,
            plain_http=plain_http,
        )


def can_resume(entry: FileEntry, opened: OpenedFile) -> bool:
    """May the committed chunks be completed with new ones?

    With a digest, yes: it decides in the end. Without one, only if all came from one mirror under one strong validator;
    chunks of unknown versions do not make a file (RFC 9110 section 13.1.5 requires the same of If-Range).
    """
    if entry.digest is not None or opened.verified or not opened.validators:
        return True
    return len(opened.validators) == 1 and opened.validators[0][1] != ""
