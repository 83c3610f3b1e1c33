"""A file, its mirrors, and the choice between them."""

from __future__ import annotations

import sys
from collections.abc import Mapping

from modelferry.checkpoint.api import OpenedFile
from modelferry.engine.download.file_download import FileDownload
from modelferry.engine.download.tasks import FetchTask, RangeTask
from modelferry.engine.download.transitions import ChunkEvent
from modelferry.engine.mirrors import Mirror, MirrorLimit, MirrorRegistry
from modelferry.engine.pacing import Load
from modelferry.http.wire import Origin
from modelferry.manifest import Digest, FileEntry, Location

LOCATIONS = (Location("https://source/a"), Location("https://one/a", "one"), Location("https://two/a", "two"))
WITH_DIGEST = FileEntry("a", 1 << 20, Digest("md5", "0" * 32), LOCATIONS)
WITHOUT_DIGEST = FileEntry("a", 1 << 20, None, LOCATIONS)
FOUND = OpenedFile(0, False, (0,))
ORDERED = (Mirror("one", 0), Mirror("two", 1), Mirror("source", 2))


class Choice:
    """A registry of mirrors that have all responded before, and a file."""

    def __init__(self, *mirrors: Mirror, entry: FileEntry = WITH_DIGEST, found: OpenedFile = FOUND) -> None:
        self.file = FileDownload.of(0, entry, found)
        self.registry = MirrorRegistry.of(16, mirrors)
        for location in self.file.locations:
            self.registry.register(location.mirror, location.origin, 0.0)
        self.registry.reached = {location.origin for location in self.file.locations}
        self.task = RangeTask.of(self.file.chunks[0])

    def begin(self, mirror: str) -> None:
        """The first chunk is begun at `mirror`."""
        self.file.advance_chunk(0, ChunkEvent.STARTED)
        self.file.assemblies[0].mirror = mirror

    def select(
        self,
        task: FetchTask | None = None,
        waiting: int = 0,
        in_flight: Mapping[Origin, int] | None = None,
        *,
        fair: bool = False,
    ) -> str:
        """The mirror that gets the next request; empty if that has to wait."""
        request = self.file.selection_request(task or self.task)
        mirror = self.registry.selector().select(request, waiting, in_flight or {}, fair=fair)
        if mirror is None:
            return ""
        if self.file.entry.digest is None:
            self.file.chosen = self.file.at_mirror(mirror)
        return mirror

    def switches(self, now: float) -> bool:
        """Is it time to start the file again from another location?"""
        assert self.file.chosen is not None
        begun = len(self.file.missing) < len(self.file.chunks)
        selector = self.registry.selector()
        return selector.should_switch_location(self.file.options, self.file.chosen.mirror, now, begun=begun)

    def fail(self, name: str, times: int = 3) -> None:
        """Failures in a row."""
        for _ in range(times):
            self.registry.record_failure(name, 1.0, "was reset")

    def deliver(self, name: str) -> None:
        """Good bytes."""
        self.registry.record_success(name)

    def run(self, **running: int) -> None:
        """So many requests are in flight."""
        self.registry.update_load({name: Load(count) for name, count in running.items()})

    def limit(self, **limits: MirrorLimit) -> None:
        """The limits of mirrors."""
        self.registry.update_limits(sys.maxsize, limits)
