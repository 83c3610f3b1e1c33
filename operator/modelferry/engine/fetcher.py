"""Fetches a manifest: keeps as many tries running as the pace allows, and decides what follows from each that ends.

All decisions are made here, one at a time, in the loop of `Fetcher.run`; the tries (`exchange`, kept in `tries`) run
beside it and only bring values. Where a decision is more than a line it is a pure function of `plan`, `pace`, `work` or
`wire`.
"""

from __future__ import annotations

import asyncio
import random
import time
from collections.abc import Callable
from dataclasses import dataclass, replace

from modelferry.engine import faults
from modelferry.engine.checkpoint.api import Checkpoint, Finish, Opened, Telemetry
from modelferry.engine.exchange import Arrived, Exchange, Landed, Missed, Mixed, Streamed, Transfer
from modelferry.engine.pace import Budget, Pace, backoff, next_part
from modelferry.engine.plan import Backlog, Lease, keeps
from modelferry.engine.storage.sink import Disk
from modelferry.engine.tally import Tally
from modelferry.engine.transport.dialer import Dialer
from modelferry.engine.tries import Tries
from modelferry.engine.wire import Action, Origin
from modelferry.engine.work import FileWork, PlaceWork
from modelferry.errors import UnknownHost
from modelferry.manifest import Chunk, Manifest
from modelferry.manifest.urls import shown

#: Tries after which a name that never resolved is taken for wrong, and syncs of one chunk after which the disk is.
_NAME_TRIES, _SYNC_TRIES = 4, 3
#: Deliveries of one chunk that its server's own digest contradicts, before its way is called spoilt.
_REJECTIONS = 4
#: Generations of one file that may change under our hands.
_RESTARTS = 3
#: Seconds after which the pace and the streams are looked at, whether something happened or not.
_TICK = 0.25


@dataclass(frozen=True, slots=True)
class Settings:
    """``connections`` at once, at most; ``patience``: seconds without progress after which a download is given up."""

    connections: int = 16
    allow_plain_http: bool = False
    patience: float = 300.0


@dataclass(frozen=True, slots=True)
class Result:
    """A whole, published download. ``bytes`` of the model; ``fetched`` bytes came over the network."""

    revision: str
    bytes: int
    fetched: int
    retries: int
    rehashed: int
    notes: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class _Finished:
    file: FileWork
    finish: Finish


_Event = Landed | Arrived | Mixed | Missed | Streamed | _Finished


class Fetcher:
    """One download."""

    def __init__(
        self,
        manifest: Manifest,
        checkpoint: Checkpoint,
        dialer: Dialer,
        settings: Settings = Settings(),
        *,
        clock: Callable[[], float] = time.monotonic,
        jitter: Callable[[], float] = random.random,
    ) -> None:
        """`clock` gives seconds, `jitter` numbers in [0, 1). The dialer is closed at the end of `run`."""
        self.retries = 0
        self.tally = Tally()
        self._manifest = manifest
        self._checkpoint = checkpoint
        self._dialer = dialer
        self._settings = settings
        self._now = clock
        self._jitter = jitter
        self._files: list[FileWork] = []
        self._backlog = Backlog()
        self._tries: Tries[_Event] = Tries({})
        self._paused: dict[Origin, float] = {}
        self._reached: set[Origin] = set()
        self._woken = asyncio.Event()
        self._pace = Pace.start(settings.connections)
        self._budget = Budget(settings.patience, clock())
        self._exchange: Exchange | None = None
        self._message = ""

    async def run(self) -> Result:
        """Fetch, verify and publish. Raises the errors of modelferry.errors; what is committed by then stays."""
        if not self._settings.allow_plain_http:
            faults.refuse_plain_http(self._manifest)
        opened = await self._checkpoint.open(self._manifest)
        if not opened.published:
            disk = Disk(opened.root, self._manifest.revision)
            told = (self._settings.allow_plain_http, self._on_reached, self._now)
            self._exchange = Exchange(self._dialer, disk, self._checkpoint, *told)
            telling = asyncio.create_task(self._tell())
            try:
                await self._fetch(opened)
                await self._checkpoint.publish()
            finally:
                telling.cancel()
                await self._call_off(lambda transfer: True)
                await asyncio.gather(telling, return_exceptions=True)
                await self._dialer.close()
                disk.close()
        fetched = self.telemetry().fetched
        size = self._manifest.size
        return Result(self._manifest.revision, size, fetched, self.retries, opened.rehashed, opened.notes)

    def telemetry(self) -> Telemetry:
        """What only this side knows, as it stands now."""
        repairing = any(file.repairing is not None and not file.verified for file in self._files)
        return Telemetry(
            in_flight=sum(transfer.received for transfer in self._tries.tasks.values())
            + sum(part.held for file in self._files for part in file.assemblies.values()),
            connections=self._dialer.connections,
            retries=self.retries,
            fetched=self._exchange.fetched if self._exchange is not None else 0,
            phase="repairing" if repairing else "fetching",
            message=self._message,
            active=self._exchange.disk.active() if self._exchange is not None else (),
        )

    # One step: start what may start, wait for the first try to end, decide what follows.

    async def _fetch(self, opened: Opened) -> None:
        self._budget = self._budget.progress(self._now())
        for number, (entry, found) in enumerate(zip(self._manifest.files, opened.files, strict=True)):
            file = FileWork.of(number, entry, found)
            self._files.append(file)
            if not keeps(entry, found):
                file.restarted(await self._checkpoint.restart(number, file.generation))
            if not file.verified:
                self._resume(file)
        while not all(file.verified for file in self._files):
            self._dispatch(self._now())
            for task in await self._first_ended():
                # An earlier one of this round may have called it off, with the rest of its file.
                if (transfer := self._tries.tasks.pop(task, None)) is not None:
                    if transfer.lease is not None and transfer.seconds:
                        size = transfer.at - transfer.lease.start
                        self._pace = self._pace.brought(self._now(), size, transfer.seconds)
                    await self._on(task.result())

    async def _first_ended(self) -> set[asyncio.Task[_Event]]:
        """Wait until a try ends, a server was reached, or a time has come that something waits for."""
        now = self._now()
        times = [time for time in (self._backlog.next_ready(), *self._paused.values()) if time is not None]
        if self._tries.tasks:
            # What may be fetched already waits for a connection. With none at work it came due a moment ago.
            times = [time for time in times if time > now] + [now + _TICK]
        elif not times:
            raise AssertionError("nothing runs and nothing waits, but the download is not whole")
        woken = asyncio.create_task(self._woken.wait())
        try:
            await asyncio.wait(
                {*self._tries.tasks, woken},
                timeout=max(0.0, min(times) - now),
                return_when=asyncio.FIRST_COMPLETED,
            )
        finally:
            woken.cancel()
        self._woken.clear()
        return {task for task in self._tries.tasks if task.done()}

    def _dispatch(self, now: float) -> None:
        self._paused = {origin: until for origin, until in self._paused.items() if until > now}
        exchange = self._exchange
        assert exchange is not None
        self._tries.drop_laggards(self._pace, now)
        while self._tries.running < self._pace.allowed and (lease := self._next(now)):
            file = self._files[lease.chunk.file]
            place, transfer = file.place_for(lease.attempt), Transfer.of(file, lease)
            work = exchange.stream(file, place, lease, transfer) if lease.stream else exchange.part(place, transfer)
            self._tries.spawn(work, transfer)
        self._pace = self._pace.observe(now, exchange.fetched, self._tries.running >= self._pace.allowed)

    def _next(self, now: float) -> Lease | None:
        """What an idle connection fetches: the next part; where all are being fetched, half of the slowest one."""
        lease = self._backlog.pop(now, self._may_fetch)
        if lease is None:
            busy = len(self._backlog) or self._paused
            return None if busy else self._tries.share(self._pace, now)
        part, rest = next_part(self._pace, lease, self._backlog.bytes)
        if rest is not None:
            self._backlog.push(rest, now)
        return part

    def _may_fetch(self, lease: Lease) -> bool:
        """Until a server has answered well once, one try at a time asks it: a wrong URL costs one request, not
        sixteen."""
        origin = Origin.of(self._files[lease.chunk.file].place_for(lease.attempt).place.url)
        if origin in self._paused:
            return False
        return origin in self._reached or not self._tries.asks(origin)

    def _on_reached(self, origin: Origin, seconds: float) -> None:
        self._pace = self._pace.answered(seconds)
        if origin not in self._reached:
            self._reached.add(origin)
            self._woken.set()

    async def _finish(self, file: FileWork) -> _Finished:
        return _Finished(file, await self._checkpoint.finish(file.number))

    def _resume(self, file: FileWork, attempt: int = 0, ready: float = 0.0) -> None:
        """Put on the list what is missing of `file`; with nothing missing, its whole digest is due."""
        file.assemblies.clear()
        if not file.missing:
            self._tries.spawn(self._finish(file), Transfer(file))
        elif file.streaming:
            whole = Chunk(file.number, 0, 0, file.entry.size)
            # Once its digest was wrong, the file is asked for past the caches.
            fresh = bool(file.mismatch[0])
            self._backlog.push(Lease(whole, 0, whole.end, attempt=attempt, fresh=fresh, stream=True), ready)
        else:
            for index in sorted(file.missing):
                self._backlog.push(Lease.of(file.chunks[index]), ready)

    # What follows from each that ended.

    async def _on(self, event: _Event) -> None:
        match event:
            case Landed():
                await self._on_landed(self._files[event.lease.chunk.file], event)
            case Arrived():
                event.place.deliver()
                self._progress()
            case Mixed():
                await self._on_mixed(self._files[event.lease.chunk.file], event.lease.chunk)
            case Streamed():
                await self._on_streamed(self._files[event.lease.chunk.file], event)
            case Missed():
                await self._on_missed(self._files[event.lease.chunk.file], event)
            case _Finished():
                await self._on_finished(event.file, event.finish)

    async def _on_landed(self, file: FileWork, landed: Landed) -> None:
        lease, receipt = landed.lease, landed.receipt
        file.assemblies.pop(lease.chunk.index, None)
        if receipt.committed:
            landed.place.deliver()
            self._progress()
            file.missing.discard(lease.chunk.index)
            if not file.missing:
                if file.repairing is None or receipt.changed:
                    self._tries.spawn(self._finish(file), Transfer(file))
                else:
                    self._compare_next(file)
            return
        self.retries += 1
        again, delay = Lease.again(lease.chunk), 0.0
        if receipt.why == "stale":
            await self._resync(file)
            return
        if receipt.why == "digest":
            self.tally.faults[landed.place.place.mirror, 11] += 1
            again = replace(again, rejected=lease.rejected + 1, fresh=True)
            if again.rejected >= _REJECTIONS:
                raise faults.spoiled(file, landed.place, lease.chunk, again.rejected)
        elif receipt.why == "disk":
            again, delay = replace(again, unsynced=lease.unsynced + 1), backoff(1, self._jitter())
            if again.unsynced >= _SYNC_TRIES:
                raise faults.unsynced(file)
        self._backlog.push(again, self._now() + delay)

    async def _on_mixed(self, file: FileWork, chunk: Chunk) -> None:
        """Parts of two versions do not make a chunk: it is fetched again, in one request."""
        self.retries += 1
        await self._call_off(lambda transfer: transfer.lease is not None and transfer.lease.chunk == chunk)
        self._backlog.drop_chunk(chunk)
        file.assemblies.pop(chunk.index, None)
        self._backlog.push(Lease.again(chunk))

    async def _on_streamed(self, file: FileWork, streamed: Streamed) -> None:
        streamed.place.deliver()
        self._progress()
        if streamed.stale:
            await self._resync(file)
            return
        if file.missing:
            # What the checkpoint refused to commit passes by again.
            file.unsynced += 1
            if file.unsynced >= _SYNC_TRIES:
                raise faults.unsynced(file)
        self._resume(file)

    async def _on_missed(self, file: FileWork, missed: Missed) -> None:
        lease, place, verdict, now = missed.lease, missed.place, missed.verdict, self._now()
        self.retries += verdict.row != 4
        self.tally.miss(place.place.mirror, verdict)
        if missed.progressed or missed.kept > lease.start:
            self._progress()
        self._message = f"{shown(place.url)} {verdict.message}; trying again"
        if missed.dropped and verdict.action is Action.WAIT:
            self._backlog.push(replace(self._keep(file, missed), attempt=lease.attempt, drops=lease.drops + 1), now)
            return
        place.route = ""
        if verdict.action is Action.RESTART:
            await self._restart(file, place)
        elif verdict.action is Action.STREAM and (verdict.row != 1 or place.ignore_range(lease.attempt + 1)):
            # Chunks cannot be compared any more: a wrong digest means the whole file once more.
            file.streaming, file.repairing = True, None
            await self._call_off(lambda transfer: transfer.file is file)
            self._backlog.drop(file.number)
            self._resume(file)
        elif self._is_hopeless(missed):
            await self._refuse(file, missed)
        elif self._budget.spent(now):
            raise faults.unavailable(file, place, verdict.message, self._budget.patience)
        else:
            if verdict.row in (35, 36):
                self._slow_down(Origin.of(place.place.url), verdict.delay)
            await self._again(file, missed)

    def _is_hopeless(self, missed: Missed) -> bool:
        """Is the place of no more use for this file?"""
        if isinstance(missed.cause, UnknownHost):
            return Origin.of(missed.place.place.url) not in self._reached and missed.lease.attempt + 1 >= _NAME_TRIES
        action = missed.verdict.action
        return action is Action.REFUSE or (action is Action.SUSPECT and missed.place.strike(missed.lease.attempt + 1))

    def _slow_down(self, origin: Origin, delay: float | None) -> None:
        self._pace = self._pace.busy(self._now())
        if delay is not None:
            self._paused[origin] = self._now() + delay

    async def _again(self, file: FileWork, missed: Missed) -> None:
        lease, verdict = missed.lease, missed.verdict
        again = (
            replace(lease, attempt=1 if missed.progressed else lease.attempt + 1)
            if lease.stream
            else self._keep(file, missed)
        )
        delay = backoff(again.attempt, self._jitter()) if verdict.delay is None else verdict.delay
        if lease.stream and file.entry.digest is None and not missed.place.validator:
            # Nothing tells whether the next answer is of the same version: the file begins anew (rows 14 to 16).
            file.restarted(await self._checkpoint.restart(file.number, file.generation))
        self._backlog.push(again, self._now() + delay)

    def _keep(self, file: FileWork, missed: Missed) -> Lease:
        """What is left of a part that was good up to a point."""
        file.assembly(missed.lease.chunk).held += missed.kept - missed.lease.start
        return missed.lease.after(missed.kept)

    async def _on_finished(self, file: FileWork, finish: Finish) -> None:
        if finish.verified:
            file.verified = True
            self._progress()
        elif finish.missing:
            file.missing = set(finish.missing)
            self._resume(file)
        else:
            file.mismatch = (finish.expected, finish.got)
            if not file.streaming:
                self._compare_next(file)
            elif file.repairing is not None:
                raise faults.mismatch(file)
            else:
                await self._anew(file)
                file.repairing = 0

    def _compare_next(self, file: FileWork) -> None:
        """Fetch the next chunk of a file with the wrong digest again, to see whether it comes the same."""
        index = 0 if file.repairing is None else file.repairing
        if index == len(file.chunks):
            raise faults.mismatch(file)
        file.repairing = index + 1
        file.missing = {index}
        self._message = f"{file.entry.path}: wrong digest; comparing chunk {index + 1} of {len(file.chunks)}"
        self._backlog.push(Lease.of(file.chunks[index], reopen=True))

    async def _refuse(self, file: FileWork, missed: Missed) -> None:
        missed.place.refused = faults.refusal(file, missed.place, missed.verdict, missed.cause)
        if not file.usable:
            raise next(place.refused for place in file.places if place.refused is not None)
        if file.entry.digest is None:
            # Without a digest nothing joins the bytes of two places: the next one begins anew.
            await self._anew(file)
        else:
            self._backlog.push(missed.lease, self._now())

    async def _restart(self, file: FileWork, place: PlaceWork) -> None:
        file.restarts += 1
        if file.restarts > _RESTARTS:
            raise faults.changing(file, place)
        await self._anew(file)

    async def _resync(self, file: FileWork) -> None:
        """The checkpoint has another generation of the file: it was started anew, and found the file lost."""
        file.unsynced += 1
        if file.unsynced >= _SYNC_TRIES:
            raise faults.unsynced(file)
        await self._anew(file)

    async def _anew(self, file: FileWork) -> None:
        await self._call_off(lambda transfer: transfer.file is file)
        self._backlog.drop(file.number)
        file.restarted(await self._checkpoint.restart(file.number, file.generation))
        self._resume(file)

    async def _call_off(self, which: Callable[[Transfer], bool]) -> None:
        """Stop the tries that `which` picks, and take note of what they committed with their last breath."""
        for landed in await self._tries.call_off(which):
            self._files[landed.lease.chunk.file].missing.discard(landed.lease.chunk.index)

    def _progress(self) -> None:
        self._budget = self._budget.progress(self._now())
        self._message = ""

    async def _tell(self) -> None:
        while True:
            await self._checkpoint.tell(self.telemetry())
            await asyncio.sleep(1.0)
