"""Carries out what follows from events: cancels attempts, starts comparisons, and tells the checkpoint."""

from __future__ import annotations

from collections.abc import Callable, Coroutine
from typing import Any

from modelferry.checkpoint.api import Checkpoint
from modelferry.engine.download.attempt import Attempt
from modelferry.engine.download.commands import (
    CancelAttempts,
    Command,
    CompareDigest,
    QuarantineMirror,
    RestartFile,
    WithdrawChunk,
)
from modelferry.engine.download.events import AttemptsCancelled, ChunkWithdrawn, Event, GenerationOpened, Outcome
from modelferry.engine.download.in_flight import InFlight
from modelferry.engine.download.outcomes import OutcomeHandler
from modelferry.engine.download.tasks import DigestTask, RangeTask


class CommandRunner:
    """Has events applied, one at a time, and carries out the commands that they lead to."""

    def __init__(
        self,
        outcomes: OutcomeHandler,
        in_flight: InFlight,
        checkpoint: Checkpoint,
        run: Callable[[Attempt], Coroutine[Any, Any, Outcome]],
    ) -> None:
        """`run` does an attempt's task."""
        self._outcomes = outcomes
        self._in_flight = in_flight
        self._checkpoint = checkpoint
        self._run = run

    def start(self, attempt: Attempt) -> None:
        """Begin `attempt`."""
        self._in_flight.spawn(self._run(attempt), attempt)

    async def apply(self, event: Event) -> None:
        """Apply `event`, and do what follows from it. Raises the error of a download that cannot go on."""
        for command in self._outcomes.apply(event):
            await self._carry_out(command)

    async def _carry_out(self, command: Command) -> None:
        match command:
            case CompareDigest(file):
                if not self._in_flight.compares(file.number):
                    self.start(Attempt(file, DigestTask(file.number)))
            case WithdrawChunk(file, chunk, retry):
                await self._cancel(lambda one: isinstance(one.task, RangeTask) and one.task.chunk == chunk)
                await self.apply(ChunkWithdrawn(file, chunk, retry))
            case CancelAttempts(file):
                await self._cancel(lambda attempt: attempt.file is file)
                await self.apply(AttemptsCancelled(file))
            case RestartFile(file):
                await self._cancel(lambda attempt: attempt.file is file)
                opened = await self._checkpoint.restart_file(file.number, file.generation)
                await self.apply(GenerationOpened(file, opened))
            case QuarantineMirror(found):
                await self._checkpoint.quarantine(found)

    async def _cancel(self, which: Callable[[Attempt], bool]) -> None:
        """Cancel attempts. A chunk that is committed meanwhile counts like any other."""
        for committed in await self._in_flight.cancel(which):
            await self.apply(committed)
