"""What the fetcher remembers of a file while it fetches it: its places, their behaviour, and what is missing."""

from __future__ import annotations

from dataclasses import dataclass, field

from modelferry.engine.checkpoint.api import OpenedFile
from modelferry.engine.download.range_task import RangeTask
from modelferry.engine.mirrors import CorruptionAttribution, LocationOption, SelectionRequest
from modelferry.engine.response import Expectation
from modelferry.errors import Stalled
from modelferry.http.wire import Origin
from modelferry.manifest import Chunk, FileEntry, Location, chunks_of

#: Broken answers in a row that a place may give. One that has delivered before gets more: at 16 streams and one
#: answer in five broken, 16 in a row do not happen (1 in 10^11), while 5 in a row at the start show a server that
#: cannot do better.
STRIKES_AT_FIRST, STRIKES = 5, 16
#: Whole files in a row, sent in answer to ranges, before the file is fetched as one stream. The same thought.
IGNORED_AT_FIRST, IGNORED = 3, 24
#: The same for one chunk, whatever else its place delivers: with the backoff, a minute.
CHUNK_TRIES = 8


@dataclass(slots=True)
class LocationState:
    """One place of one file. ``redirect_url`` is where it redirected to (resolved once); ``validator`` what its answers
    carry. ``ranged``: it has kept to a range that was asked for. ``entire``: it sends the whole file alone, or cannot
    tell versions apart; another one is asked for parts."""

    location: Location
    redirect_url: str = ""
    validator: str | None = None
    strikes: int = 0
    ignored: int = 0
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

    def strike(self, tries: int) -> bool:
        """Count a broken answer, to try number `tries` of a chunk; True where that was the last one that is borne."""
        self.strikes += 1
        return tries >= CHUNK_TRIES or self.strikes >= (STRIKES if self.delivered else STRIKES_AT_FIRST)

    def ignore_range(self, tries: int) -> bool:
        """Count a whole file in answer to a range, at try number `tries`; True where this place does not do ranges."""
        self.ignored += 1
        return tries >= CHUNK_TRIES or self.ignored >= (IGNORED if self.ranged else IGNORED_AT_FIRST)

    def keep_range(self) -> None:
        """Count an answer that keeps to the range that was asked for, before its bytes have come."""
        self.ignored, self.ranged = 0, True

    def deliver(self) -> None:
        """Count a good chunk."""
        self.strikes = 0
        self.delivered = True


@dataclass(slots=True)
class ChunkAssembly:
    """A chunk as it comes, in one or more parts. ``held``: bytes of it that are written; ``facts``: mirror, validator
    and inode of those; ``digests`` as in `WrittenChunk`. ``mirror`` is who is asked for its parts, as long as it is
    well."""

    chunk: Chunk
    held: int = 0
    mirror: str = ""
    facts: tuple[str, str, int] | None = None
    digests: list[tuple[int, int, str]] = field(default_factory=list)

    @property
    def complete(self) -> bool:
        """Nothing is left to fetch."""
        return self.held == self.chunk.size

    def joins(self, task: RangeTask, facts: tuple[str, str, int]) -> bool:
        """May the bytes of `task`, which come with `facts`, be joined with what is there?

        Parts are of one mirror, one version and one file on the disk. Only a chunk that comes one piece after the other
        may be completed by another place: there the whole digest decides, and a place that breaks off again and again
        would otherwise keep it from ever being whole.
        """
        last = task.end == self.chunk.end and self.held == task.start - self.chunk.start
        if self.facts in (None, facts) or last:
            self.facts = facts
            return True
        return False


@dataclass(slots=True)
class FileDownload:
    """One file. ``missing``: indices of chunks that are not committed. ``repairing``: the chunk that is compared next,
    None while there is nothing to compare. ``streaming``: its place cannot do ranges, or cannot tell versions apart.
    ``mismatch``: the expected and the computed digest, once they differed; ``attribution``: who is suspected of it.
    ``chosen``: the one place of a file without a digest."""

    number: int
    entry: FileEntry
    generation: int
    missing: set[int]
    verified: bool
    locations: list[LocationState]
    streaming: bool = False
    repairing: int | None = None
    restarts: int = 0
    unsynced: int = 0
    mismatch: tuple[str, str] = ("", "")
    attribution: CorruptionAttribution | None = None
    chosen: LocationState | None = None
    chunks: list[Chunk] = field(default_factory=list)
    assemblies: dict[int, ChunkAssembly] = field(default_factory=dict)

    @classmethod
    def of(cls, number: int, entry: FileEntry, opened: OpenedFile) -> FileDownload:
        """As the checkpoint found it; the validator of what is done is that of what is to come."""
        locations = [LocationState(location) for location in entry.locations]
        if entry.digest is None:
            known = dict(opened.validators)
            for location in locations:
                location.validator = known.get(location.mirror)
            locations.sort(key=lambda location: location.validator is None)
        work = cls(number, entry, opened.generation, set(opened.missing), opened.verified, locations)
        work.chunks = list(chunks_of(number, entry.size))
        return work

    def restarted(self, opened: OpenedFile) -> None:
        """Begin again with what the checkpoint says of the new generation."""
        self.generation, self.missing, self.verified = opened.generation, set(opened.missing), opened.verified
        self.repairing = self.attribution = self.chosen = None
        for location in self.locations:
            location.validator = None

    def assembly(self, chunk: Chunk) -> ChunkAssembly:
        """What is there of `chunk`."""
        return self.assemblies.setdefault(chunk.index, ChunkAssembly(chunk))

    @property
    def usable(self) -> list[LocationState]:
        """Places that were not refused, by preference."""
        return [location for location in self.locations if location.refused is None]

    @property
    def options(self) -> tuple[LocationOption, ...]:
        """The usable locations, as a `MirrorSelector` needs them."""
        return tuple(
            LocationOption(one.mirror, one.origin, entire_only=one.entire, has_validator=one.validator is not None)
            for one in self.usable
        )

    def selection_request(self, task: RangeTask) -> SelectionRequest:
        """What a `MirrorSelector` needs to know of `task`."""
        assembly = self.assemblies.get(task.chunk.index)
        return SelectionRequest(
            self.options,
            task.chunk.size,
            has_digest=self.entry.digest is not None,
            is_stream=task.stream,
            chosen=self.chosen.mirror if self.chosen is not None else "",
            suspect=self.suspect,
            begun_by=assembly.mirror if assembly is not None else "",
            avoid=task.avoid if task.failures else "",
        )

    def at_mirror(self, mirror: str) -> LocationState:
        """Its usable location at `mirror`; raises StopIteration if there is none."""
        return next(one for one in self.usable if one.mirror == mirror)

    @property
    def suspect(self) -> str:
        """The mirror whose chunks are being compared with what others bring; empty where none is suspected."""
        return self.attribution.suspect if self.attribution is not None and self.attribution.round else ""

    def expectation(self, location: LocationState, *, plain_http: bool) -> Expectation:
        """What an answer from `location` is judged by."""
        # The manifest's validator was seen at the first place, and says nothing of the others.
        resolved = bool(self.entry.validator) and location.location == self.entry.locations[0]
        return Expectation(
            size=self.entry.size,
            pinned=self.entry.digest is not None,
            validator=self.entry.validator if resolved else location.validator,
            resolved=resolved,
            alternatives=len(self.usable) > 1,
            plain_http=plain_http,
        )
