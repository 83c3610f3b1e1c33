"""The checkpoint in this process: `CheckpointWorker` in its own thread, behind the asynchronous `api.Checkpoint`."""

from __future__ import annotations

import asyncio
import contextlib
import time
from collections.abc import Callable, Iterable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import TypeVar

from modelferry.engine.checkpoint.api import (
    CommitResult,
    OpenedFile,
    OpenResult,
    QuarantinedMirror,
    StatTotals,
    Telemetry,
    VerifyResult,
    WrittenChunk,
)
from modelferry.engine.checkpoint.progress_report import letters_of, progress_of, speed_meter
from modelferry.engine.checkpoint.worker import CheckpointWorker, read_boot_id
from modelferry.errors import MachineError, ModelferryError
from modelferry.manifest import Manifest
from modelferry.messages import ChunkMap, Progress

T = TypeVar("T")

#: A commit takes some milliseconds, whatever it holds. So small files' chunks wait for others, but for so many seconds
#: at most, and not if there are so many already.
_GATHER, _ENOUGH = 0.03, 32


class LocalCheckpoint:
    """Implements api.Checkpoint over a target directory, which exists. Close it at the end."""

    def __init__(
        self,
        directory: Path,
        *,
        boot_id: str | None = None,
        clock: Callable[[], float] = time.time,
        monotonic: Callable[[], float] = time.monotonic,
    ) -> None:
        """`clock` gives seconds since 1970 for records; `monotonic` seconds for the speed."""
        self._worker = CheckpointWorker(directory, boot_id=read_boot_id() if boot_id is None else boot_id, clock=clock)
        self._thread = ThreadPoolExecutor(1, "checkpoint")
        self._monotonic = monotonic
        self._meter = speed_meter()
        self._telemetry = Telemetry()
        self._reported_stats: StatTotals = {}
        self._received = 0
        self._phase = "starting"
        self._message = ""
        self._revision = ""
        self._reports: list[tuple[WrittenChunk, asyncio.Future[CommitResult]]] = []
        self._pump: asyncio.Task[None] | None = None

    @property
    def rehashed(self) -> int:
        """Chunks hashed again after an unclean boot."""
        return self._worker.rehashed

    async def open(self, manifest: Manifest) -> OpenResult:
        """See api.Checkpoint."""
        self._revision, self._received = manifest.revision, 0
        self._phase, self._message = "recovering", ""
        self._reported_stats = {}
        opened = await self._do(self._worker.open, manifest, cost="recovering")
        self._phase = "published" if opened.published else "fetching"
        self._message = "; ".join(opened.notes)
        return opened

    async def commit_chunk(self, chunk: WrittenChunk) -> CommitResult:
        """See api.Checkpoint. What is reported while the disk works is committed together."""
        receipt: asyncio.Future[CommitResult] = asyncio.get_running_loop().create_future()
        self._reports.append((chunk, receipt))
        if self._pump is None or self._pump.done():
            self._pump = asyncio.create_task(self._drain())
        return await receipt

    async def mark_pending(self, file: int, index: int) -> None:
        """See api.Checkpoint."""
        await self._do(self._worker.mark_pending, file, index)

    async def restart_file(self, file: int, generation: int) -> OpenedFile:
        """See api.Checkpoint."""
        return await self._do(self._worker.restart_file, file, generation)

    async def verify_file(self, file: int) -> VerifyResult:
        """See api.Checkpoint. A file that its last chunk completed needs no work of the thread's."""
        if self._worker.states[file].verified:
            return VerifyResult(True)
        return await self._do(self._worker.verify_file, file, cost="comparing")

    async def quarantine(self, found: QuarantinedMirror) -> None:
        """See api.Checkpoint."""
        await self._do(self._worker.quarantine, found)

    async def publish(self) -> None:
        """See api.Checkpoint."""
        await self._do(self._worker.publish, cost="publishing")
        await self._do(self._worker.flush_stats)
        self._phase, self._message = "published", ""
        told = self._telemetry
        self._telemetry = Telemetry(retries=told.retries, fetched=told.fetched, mirrors=told.mirrors)

    async def report_telemetry(self, telemetry: Telemetry) -> None:
        """See api.Checkpoint."""
        self._telemetry = telemetry
        grown = _growth(telemetry.stats, self._reported_stats)
        self._reported_stats = {
            (operation, mirror): (count, seconds) for operation, mirror, count, seconds in telemetry.stats
        }
        if grown:
            await self._do(self._worker.record_stats, grown)
        # Taken together when they are told: a chunk that is committed before the next word is still in flight in this
        # one, and must not count twice until then.
        self._received = self._done + telemetry.in_flight
        if self._phase in ("fetching", "repairing", "paused", "failed"):
            self._phase = telemetry.phase

    async def report_failure(self, error: ModelferryError) -> None:
        """See api.Checkpoint."""
        self._phase, self._message = "failed", error.message
        await self._do(self._worker.flush_stats)

    def progress(self) -> Progress:
        """As it stands now. Asking is what the speed is measured by: ask at least every few seconds."""
        now = self._monotonic()
        states, done = self._worker.states, self._done
        received = max(done, self._received)
        if self._phase in ("fetching", "repairing"):
            self._meter = self._meter.sampled(now, received)
        phase = self._phase
        if phase == "fetching" and states and done == sum(state.entry.size for state in states):
            phase = "verifying"
        speed = self._meter.rate_at(now) if phase in ("fetching", "repairing") else 0.0
        return progress_of(
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
        """How each chunk stands, for people who look. 80,000 chunks (1.3 TB) take 8 ms: ask once a second."""
        return ChunkMap.of(self._revision, letters_of(self._worker.states, self._telemetry.active))

    @property
    def _done(self) -> int:
        return sum(state.done for state in self._worker.states)

    async def close(self) -> None:
        """Finish what is being written and let go of the directory."""
        if self._pump is not None:
            await asyncio.gather(self._pump, return_exceptions=True)
        await self._do(self._worker.close)
        self._thread.shutdown(wait=False)

    async def _drain(self) -> None:
        while self._reports:
            if len(self._reports) < _ENOUGH and all(self._worker.is_small(report) for report, _ in self._reports):
                await asyncio.sleep(_GATHER)
            batch, self._reports = self._reports, []
            try:
                receipts = await self._do(self._worker.commit_chunks, [report for report, _ in batch], cost="recording")
            except BaseException as error:
                for _, waiting in batch:
                    if not waiting.done():
                        waiting.set_exception(error)
                if not isinstance(error, ModelferryError):
                    raise
                continue
            for (_, waiting), receipt in zip(batch, receipts, strict=True):
                if not waiting.done():
                    waiting.set_result(receipt)
            # With nothing else to do, the whole digests catch up, one chunk at a time so that nobody waits for long.
            # What it finds wrong with the disk is found again, and told, when the file is finished.
            with contextlib.suppress(MachineError):
                while not self._reports and await self._do(self._worker.catch_up, cost="comparing"):
                    pass

    async def _do(self, work: Callable[..., T], *arguments: object, cost: str = "") -> T:
        """Do `work` in the keeper's thread; what it took is noted as `cost`."""

        def timed() -> T:
            begun = self._monotonic()
            try:
                return work(*arguments)
            finally:
                if cost:
                    self._worker.record_stats({(cost, ""): (1, self._monotonic() - begun)})

        return await asyncio.get_running_loop().run_in_executor(self._thread, timed)


def _growth(totals: Iterable[tuple[str, str, int, float]], before: StatTotals) -> StatTotals:
    """By how much `totals`, as in Telemetry, exceed `before`."""
    growth: StatTotals = {}
    for operation, mirror, count, seconds in totals:
        known = before.get((operation, mirror), (0, 0.0))
        if (count, seconds) != known:
            growth[operation, mirror] = count - known[0], seconds - known[1]
    return growth
