"""The checkpoint in this process: `CheckpointWorker` in a thread, behind the asynchronous `api.Checkpoint`."""

from __future__ import annotations

import asyncio
import contextlib
import time
from collections.abc import Callable, Iterable, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import TypeVar

from modelferry.checkpoint.api import (
    CommitResult,
    OpenedFile,
    OpenResult,
    QuarantinedMirror,
    StatTotals,
    Telemetry,
    VerifyResult,
    WrittenChunk,
)
from modelferry.checkpoint.progress_report import chunk_letters, progress_report, speed_meter
from modelferry.checkpoint.worker import CheckpointWorker, read_boot_id
from modelferry.errors import MachineError, ModelferryError
from modelferry.manifest import Manifest
from modelferry.messages import ChunkMap, Progress
from modelferry.messages.earlier_revisions import MountWindow, RetainedRevision
from modelferry.resource.hub_cache import HubCache

T = TypeVar("T")

#: A commit takes some milliseconds, whatever its size. So chunks of small files wait for others: at most so many
#: seconds, and not if there are so many chunks already.
_COMMIT_DELAY, _DELAYED_CHUNKS = 0.03, 32


class LocalCheckpoint:
    """Implements api.Checkpoint for a target directory. Close it at the end."""

    def __init__(
        self,
        directory: Path,
        *,
        windows: Sequence[MountWindow] = (),
        boot_id: str | None = None,
        clock: Callable[[], float] = time.time,
        monotonic: Callable[[], float] = time.monotonic,
        hub_cache: HubCache | None = None,
    ) -> None:
        """`directory` or its parent exists. `windows`: when running pods mounted the model. `hub_cache`: the layout of
        what is published, if not plain. `clock` gives seconds since 1970 for records; `monotonic` gives seconds for
        speeds and durations."""
        boot_id = read_boot_id() if boot_id is None else boot_id
        self._worker = CheckpointWorker(directory, boot_id=boot_id, clock=clock, windows=windows, hub_cache=hub_cache)
        self._thread = ThreadPoolExecutor(1, "checkpoint")
        self._monotonic = monotonic
        self._meter = speed_meter()
        self._telemetry = Telemetry()
        self._reported_stats: StatTotals = {}
        self._received = 0
        self._phase = "starting"
        self._message = ""
        self._revision = ""
        self._uncommitted: list[tuple[WrittenChunk, asyncio.Future[CommitResult]]] = []
        self._committer: asyncio.Task[None] | None = None

    @property
    def rehashed(self) -> int:
        """Chunks that were hashed again after an unclean boot."""
        return self._worker.rehashed

    async def open(self, manifest: Manifest) -> OpenResult:
        """See api.Checkpoint."""
        self._revision, self._received = manifest.revision, 0
        self._phase, self._message = "recovering", ""
        self._reported_stats = {}
        opened = await self._run(self._worker.open, manifest, operation="recovering")
        self._phase = "published" if opened.published else "fetching"
        self._message = "; ".join(opened.notes)
        return opened

    async def commit_chunk(self, chunk: WrittenChunk) -> CommitResult:
        """See api.Checkpoint. Chunks that are reported while the disk is busy are committed together."""
        result: asyncio.Future[CommitResult] = asyncio.get_running_loop().create_future()
        self._uncommitted.append((chunk, result))
        if self._committer is None or self._committer.done():
            self._committer = asyncio.create_task(self._commit_all())
        return await result

    async def mark_pending(self, file: int, index: int) -> None:
        """See api.Checkpoint."""
        await self._run(self._worker.mark_pending, file, index)

    async def restart_file(self, file: int, generation: int) -> OpenedFile:
        """See api.Checkpoint."""
        return await self._run(self._worker.restart_file, file, generation)

    async def verify_file(self, file: int) -> VerifyResult:
        """See api.Checkpoint. If the commit of the last chunk verified the file, this needs no work in the thread."""
        if self._worker.states[file].verified:
            return VerifyResult(True)
        return await self._run(self._worker.verify_file, file, operation="comparing")

    async def quarantine(self, found: QuarantinedMirror) -> None:
        """See api.Checkpoint."""
        await self._run(self._worker.quarantine, found)

    async def publish(self) -> tuple[RetainedRevision, ...]:
        """See api.Checkpoint."""
        retained = await self._run(self._worker.publish, operation="publishing")
        await self._run(self._worker.flush_stats)
        self._phase, self._message = "published", ""
        last = self._telemetry
        self._telemetry = Telemetry(retries=last.retries, fetched=last.fetched, mirrors=last.mirrors)
        return retained

    async def report_telemetry(self, telemetry: Telemetry) -> None:
        """See api.Checkpoint."""
        self._telemetry = telemetry
        growth = _growth(telemetry.stats, self._reported_stats)
        self._reported_stats = {(operation, mirror): (n, seconds) for operation, mirror, n, seconds in telemetry.stats}
        if growth:
            await self._run(self._worker.record_stats, growth)
        # Added up when the telemetry arrives: a chunk that is committed before the next telemetry is still in flight in
        # this one, and must not count twice until then.
        self._received = self._done + telemetry.in_flight
        if self._phase in ("fetching", "repairing", "paused", "failed"):
            self._phase = telemetry.phase

    async def report_failure(self, error: ModelferryError) -> None:
        """See api.Checkpoint."""
        self._phase, self._message = "failed", error.message
        await self._run(self._worker.flush_stats)

    def progress(self) -> Progress:
        """The current progress. The speed is measured between calls: call this at least every few seconds."""
        now = self._monotonic()
        states, done = self._worker.states, self._done
        received = max(done, self._received)
        if self._phase in ("fetching", "repairing"):
            self._meter = self._meter.sampled(now, received)
        phase = self._phase
        if phase == "fetching" and states and done == sum(state.entry.size for state in states):
            phase = "verifying"
        speed = self._meter.rate_at(now) if phase in ("fetching", "repairing") else 0.0
        return progress_report(
            self._revision,
            states,
            self._telemetry,
            received=received,
            phase=phase,
            speed=speed,
            rehashed=self._worker.rehashed,
            message=self._message,
        )

    def chunks(self) -> ChunkMap:
        """The state of every chunk. 80,000 chunks (1.3 TB) take 8 ms, so call this once a second at most."""
        return ChunkMap.from_letters(self._revision, chunk_letters(self._worker.states, self._telemetry.active))

    @property
    def _done(self) -> int:
        return sum(state.done for state in self._worker.states)

    async def close(self) -> None:
        """Commit what is reported, and close the directory."""
        if self._committer is not None:
            await asyncio.gather(self._committer, return_exceptions=True)
        await self._run(self._worker.close)
        self._thread.shutdown(wait=False)

    async def _commit_all(self) -> None:
        """Commit until nothing is left."""
        while self._uncommitted:
            few = len(self._uncommitted) < _DELAYED_CHUNKS
            if few and all(self._worker.is_small(chunk) for chunk, _ in self._uncommitted):
                await asyncio.sleep(_COMMIT_DELAY)
            batch, self._uncommitted = self._uncommitted, []
            try:
                chunks = [chunk for chunk, _ in batch]
                results = await self._run(self._worker.commit_chunks, chunks, operation="recording")
            except BaseException as error:
                for _, future in batch:
                    if not future.done():
                        future.set_exception(error)
                if not isinstance(error, ModelferryError):
                    raise
                continue
            for (_, future), result in zip(batch, results, strict=True):
                if not future.done():
                    future.set_result(result)
            # While there is nothing to commit, the running digests catch up, one chunk at a time so that the next
            # commit does not wait long. A disk error is ignored here: `verify_file` meets it again, and reports it.
            with contextlib.suppress(MachineError):
                while not self._uncommitted and await self._run(self._worker.catch_up, operation="comparing"):
                    pass

    async def _run(self, function: Callable[..., T], *arguments: object, operation: str = "") -> T:
        """Call `function` in the worker's thread, and record its duration in the stats of `operation`."""

        def timed() -> T:
            begun = self._monotonic()
            try:
                return function(*arguments)
            finally:
                if operation:
                    self._worker.record_stats({(operation, ""): (1, self._monotonic() - begun)})

        return await asyncio.get_running_loop().run_in_executor(self._thread, timed)


def _growth(totals: Iterable[tuple[str, str, int, float]], before: StatTotals) -> StatTotals:
    """The difference between `totals`, as in Telemetry.stats, and the totals `before`."""
    growth: StatTotals = {}
    for operation, mirror, count, seconds in totals:
        known = before.get((operation, mirror), (0, 0.0))
        if (count, seconds) != known:
            growth[operation, mirror] = count - known[0], seconds - known[1]
    return growth
