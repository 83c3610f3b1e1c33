"""The checkpoint in this process: `CheckpointWorker` in its own thread, behind the asynchronous `api.Checkpoint`."""

from __future__ import annotations

import asyncio
import contextlib
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import TypeVar

from modelferry.engine.checkpoint.api import Finish, Opened, OpenedFile, Quarantined, Receipt, Telemetry, Written
from modelferry.engine.checkpoint.progress_report import letters_of, progress_of, speed_meter
from modelferry.engine.checkpoint.worker import CheckpointWorker, read_boot_id
from modelferry.engine.download.transfer_stats import Costs, since
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
        self._keeper = CheckpointWorker(directory, boot_id=read_boot_id() if boot_id is None else boot_id, clock=clock)
        self._thread = ThreadPoolExecutor(1, "checkpoint")
        self._monotonic = monotonic
        self._meter = speed_meter()
        self._telemetry = Telemetry()
        self._told: Costs = {}
        self._received = 0
        self._phase = "starting"
        self._message = ""
        self._revision = ""
        self._reports: list[tuple[Written, asyncio.Future[Receipt]]] = []
        self._pump: asyncio.Task[None] | None = None

    @property
    def rehashed(self) -> int:
        """Chunks hashed again after an unclean boot."""
        return self._keeper.rehashed

    async def open(self, manifest: Manifest) -> Opened:
        """See api.Checkpoint."""
        self._revision, self._received = manifest.revision, 0
        self._phase, self._message = "recovering", ""
        self._told = {}
        opened = await self._do(self._keeper.open, manifest, cost="recovering")
        self._phase = "published" if opened.published else "fetching"
        self._message = "; ".join(opened.notes)
        return opened

    async def written(self, report: Written) -> Receipt:
        """See api.Checkpoint. What is reported while the disk works is committed together."""
        receipt: asyncio.Future[Receipt] = asyncio.get_running_loop().create_future()
        self._reports.append((report, receipt))
        if self._pump is None or self._pump.done():
            self._pump = asyncio.create_task(self._drain())
        return await receipt

    async def reopen(self, file: int, index: int) -> None:
        """See api.Checkpoint."""
        await self._do(self._keeper.reopen, file, index)

    async def restart(self, file: int, generation: int) -> OpenedFile:
        """See api.Checkpoint."""
        return await self._do(self._keeper.restart, file, generation)

    async def finish(self, file: int) -> Finish:
        """See api.Checkpoint. A file that its last chunk completed needs no work of the thread's."""
        if self._keeper.states[file].verified:
            return Finish(True)
        return await self._do(self._keeper.finish, file, cost="comparing")

    async def quarantine(self, found: Quarantined) -> None:
        """See api.Checkpoint."""
        await self._do(self._keeper.quarantine, found)

    async def publish(self) -> None:
        """See api.Checkpoint."""
        await self._do(self._keeper.publish, cost="publishing")
        await self._do(self._keeper.settle)
        self._phase, self._message = "published", ""
        told = self._telemetry
        self._telemetry = Telemetry(retries=told.retries, fetched=told.fetched, mirrors=told.mirrors)

    async def tell(self, telemetry: Telemetry) -> None:
        """See api.Checkpoint."""
        self._telemetry = telemetry
        grown = since(telemetry.costs, self._told)
        self._told = {(what, mirror): (times, seconds) for what, mirror, times, seconds in telemetry.costs}
        if grown:
            await self._do(self._keeper.spend, grown)
        # Taken together when they are told: a chunk that is committed before the next word is still in flight in this
        # one, and must not count twice until then.
        self._received = self._done + telemetry.in_flight
        if self._phase in ("fetching", "repairing", "paused", "failed"):
            self._phase = telemetry.phase

    async def fail(self, error: ModelferryError) -> None:
        """See api.Checkpoint."""
        self._phase, self._message = "failed", error.message
        await self._do(self._keeper.settle)

    def progress(self) -> Progress:
        """As it stands now. Asking is what the speed is measured by: ask at least every few seconds."""
        now = self._monotonic()
        states, done = self._keeper.states, self._done
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
            rehashed=self._keeper.rehashed,
            message=self._message,
        )

    def chunks(self) -> ChunkMap:
        """How each chunk stands, for people who look. 80,000 chunks (1.3 TB) take 8 ms: ask once a second."""
        return ChunkMap.of(self._revision, letters_of(self._keeper.states, self._telemetry.active))

    @property
    def _done(self) -> int:
        return sum(state.done for state in self._keeper.states)

    async def close(self) -> None:
        """Finish what is being written and let go of the directory."""
        if self._pump is not None:
            await asyncio.gather(self._pump, return_exceptions=True)
        await self._do(self._keeper.close)
        self._thread.shutdown(wait=False)

    async def _drain(self) -> None:
        while self._reports:
            if len(self._reports) < _ENOUGH and all(self._keeper.is_small(report) for report, _ in self._reports):
                await asyncio.sleep(_GATHER)
            batch, self._reports = self._reports, []
            try:
                receipts = await self._do(self._keeper.commit, [report for report, _ in batch], cost="recording")
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
                while not self._reports and await self._do(self._keeper.catch_up, cost="comparing"):
                    pass

    async def _do(self, work: Callable[..., T], *arguments: object, cost: str = "") -> T:
        """Do `work` in the keeper's thread; what it took is noted as `cost`."""

        def timed() -> T:
            begun = self._monotonic()
            try:
                return work(*arguments)
            finally:
                if cost:
                    self._keeper.spend({(cost, ""): (1, self._monotonic() - begun)})

        return await asyncio.get_running_loop().run_in_executor(self._thread, timed)
