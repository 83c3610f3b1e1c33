"""The state of a download with its one writer, driven event by event; attempts end as they are told."""

from __future__ import annotations

import asyncio

from modelferry.checkpoint.api import OpenedFile, OpenResult, VerifyResult
from modelferry.engine.download.attempt import Assignment, Attempt
from modelferry.engine.download.command_runner import CommandRunner
from modelferry.engine.download.events import (
    AttemptStarted,
    BytesWritten,
    DigestCompared,
    DownloadOpened,
    Outcome,
    StreamCompleted,
)
from modelferry.engine.download.file_download import FileDownload
from modelferry.engine.download.outcomes import OutcomeHandler
from modelferry.engine.download.state import DownloadState
from modelferry.engine.download.tasks import DigestTask, FetchTask, RangeTask, StreamTask
from modelferry.engine.mirrors import Mirror, MirrorRegistry
from modelferry.engine.pacing import ProgressDeadline
from modelferry.manifest import FileEntry
from modelferry.manifest.entries import content_addressed
from unit.engine.download.stub_checkpoint import StubCheckpoint


class StubDownload:
    """``state`` of a download of one file, ``file``. An attempt runs until it is cancelled, and ends then as
    ``when_cancelled`` says, if it does; a digest comes out as ``verified``."""

    def __init__(self, entry: FileEntry, opened: OpenedFile, *mirrors: str, verified: VerifyResult) -> None:
        """`mirrors`: names, all of one priority."""
        registry = MirrorRegistry.of(16, [Mirror(name, 0) for name in mirrors])
        self.state = DownloadState(registry, ProgressDeadline(300.0, 0.0))
        self.checkpoint = StubCheckpoint(verified)
        self.outcomes = OutcomeHandler(self.state, lambda: 1.0, lambda: 0.0, lambda: None)
        self.commands = CommandRunner(self.outcomes, self.state.in_flight, self.checkpoint, self._run)
        self.when_cancelled: dict[Attempt, Outcome] = {}
        self.outcomes.apply(DownloadOpened(content_addressed((entry,)), OpenResult("/", False, (opened,))))
        self.file: FileDownload = self.state.files[0]

    def begin(self, task: FetchTask, mirror: str) -> Attempt:
        """Start an attempt at `task`, which is in the queue, at `mirror`."""
        location = self.file.at_mirror(mirror)
        attempt = Attempt.of(self.file, task, location)
        self.outcomes.apply(AttemptStarted(attempt, Assignment(task, location, queued=task)))
        return attempt

    async def run(self, attempt: Attempt) -> None:
        """Let `attempt` run until it is cancelled."""
        self.commands.start(attempt)
        await asyncio.sleep(0)

    def write(self, attempt: Attempt) -> None:
        """All bytes of `attempt` are in the file."""
        attempt.at = attempt.end
        self.outcomes.apply(BytesWritten(attempt, None))

    def lost_generation(self) -> StreamCompleted:
        """The end of a stream that the checkpoint wanted nothing of: it has another generation of the file."""
        stream = Attempt.of(self.file, StreamTask(0, self.file.entry.size), self.file.locations[0])
        return StreamCompleted(stream, stale=True)

    @property
    def queued(self) -> list[RangeTask]:
        """The ranges that wait."""
        return [task for task in self.state.queue if isinstance(task, RangeTask)]

    @property
    def running(self) -> list[Attempt]:
        """The attempts that run."""
        return list(self.state.in_flight.attempts)

    async def finish(self) -> None:
        """Apply the outcome of the digest that is being compared."""
        (task,) = self.state.in_flight.tasks
        outcome = await task
        self.state.in_flight.remove(task)
        await self.commands.apply(outcome)

    async def _run(self, attempt: Attempt) -> Outcome:
        if isinstance(attempt.task, DigestTask):
            return DigestCompared(self.file, await self.checkpoint.verify_file(attempt.task.file))
        try:
            await asyncio.Event().wait()
        except asyncio.CancelledError:
            if attempt in self.when_cancelled:
                return self.when_cancelled[attempt]
            raise
        raise AssertionError("nothing but a cancellation ends it")
