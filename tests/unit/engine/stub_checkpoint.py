"""A checkpoint whose answers are given."""

from __future__ import annotations

from modelferry.engine.checkpoint.api import Finish, Opened, OpenedFile, Quarantined, Receipt, Telemetry, Written
from modelferry.errors import ModelferryError
from modelferry.manifest import Manifest


class StubCheckpoint:
    """Commits every chunk, and answers `finish` with `finished`. ``restarted`` and ``quarantined`` are its records."""

    def __init__(self, finished: Finish) -> None:
        self.finished = finished
        self.restarted: list[int] = []
        self.quarantined: list[Quarantined] = []

    async def open(self, manifest: Manifest) -> Opened:
        """See api.Checkpoint."""
        raise AssertionError("a test opens its files itself")

    async def written(self, report: Written) -> Receipt:
        """See api.Checkpoint."""
        return Receipt(True)

    async def reopen(self, file: int, index: int) -> None:
        """See api.Checkpoint."""

    async def restart(self, file: int, generation: int) -> OpenedFile:
        """See api.Checkpoint."""
        self.restarted.append(file)
        return OpenedFile(generation + 1, False, (0,))

    async def finish(self, file: int) -> Finish:
        """See api.Checkpoint."""
        return self.finished

    async def quarantine(self, found: Quarantined) -> None:
        """See api.Checkpoint."""
        self.quarantined.append(found)

    async def publish(self) -> None:
        """See api.Checkpoint."""

    async def tell(self, telemetry: Telemetry) -> None:
        """See api.Checkpoint."""

    async def fail(self, error: ModelferryError) -> None:
        """See api.Checkpoint."""
