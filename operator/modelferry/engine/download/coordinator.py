"""Fetches a manifest: keeps as many tries running as the pace allows, and has decided what follows from each that ends.

All decisions are made one at a time, in the loop of `DownloadCoordinator.run`: `mirrors` says which location to ask and
how much, `outcomes` and `verification` what follows; the attempts (`attempt`, kept in `in_flight`) run beside the loop.
"""

from __future__ import annotations

import asyncio
import random
import time
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass

from modelferry.engine.checkpoint.api import Checkpoint, OpenResult, Telemetry
from modelferry.engine.download import failure_messages
from modelferry.engine.download.attempt import AttemptRunner
from modelferry.engine.download.events import Attempt, Event
from modelferry.engine.download.file_download import FileDownload, LocationState
from modelferry.engine.download.outcomes import OutcomeHandler
from modelferry.engine.download.range_task import can_resume
from modelferry.engine.download.state import DownloadState
from modelferry.engine.download.transfer_stats import TransferStats
from modelferry.engine.download.verification import FileStateMachine
from modelferry.engine.mirrors import Mirror, MirrorLimit, MirrorRegistry
from modelferry.engine.pacing import ProgressDeadline
from modelferry.engine.storage.incoming_files import IncomingFiles
from modelferry.errors import ModelferryError
from modelferry.http.client import HTTPClient
from modelferry.http.transport.throttle import Throttle
from modelferry.http.wire import Origin
from modelferry.manifest import Manifest

#: Seconds after which the pace and the streams are looked at, whether something happened or not.
_TICK = 0.25
#: Seconds that are worth waiting for: less can be lost in the rounding of a clock, and would be waited for for ever.
_LEAST_WAIT = 0.001
#: Seconds after which a probe that has not come back is forgotten.
_PROBE_TIME = 60.0

#: Seconds that a last word to the checkpoint may take.
_LAST_WORD = 2.0


@dataclass(frozen=True, slots=True)
class Settings:
    """``connections`` at once, at most; ``progress_deadline``: seconds without progress after which a download is given
    up; ``mirrors``: the standing of each, the source among them; one that is not listed ranks as its place in the
    manifest does."""

    connections: int = 16
    allow_plain_http: bool = False
    progress_deadline: float = 300.0
    mirrors: tuple[Mirror, ...] = ()


@dataclass(frozen=True, slots=True)
class Result:
    """A whole, published download. ``bytes`` of the model; ``fetched`` bytes came over the network."""

    revision: str
    bytes: int
    fetched: int
    retries: int
    rehashed: int
    notes: tuple[str, ...] = ()


class DownloadCoordinator:
    """One download."""

    def __init__(
        self,
        manifest: Manifest,
        checkpoint: Checkpoint,
        http_client: HTTPClient,
        settings: Settings = Settings(),
        *,
        clock: Callable[[], float] = time.monotonic,
        jitter: Callable[[], float] = random.random,
    ) -> None:
        """`clock` gives seconds, `jitter` numbers in [0, 1). The dialer is closed at the end of `run`."""
        self._manifest = manifest
        self._checkpoint = checkpoint
        self._dialer = http_client
        self._settings = settings
        self._now = clock
        mirrors = MirrorRegistry.of(settings.connections, settings.mirrors)
        self._download = DownloadState(mirrors, ProgressDeadline(settings.progress_deadline, clock()))
        self._files = FileStateMachine(self._download, checkpoint, clock)
        self._reactions = OutcomeHandler(self._download, self._files, checkpoint, clock, jitter)
        self._woken = asyncio.Event()
        self._exchange: AttemptRunner | None = None

    @property
    def retries(self) -> int:
        """Tries that had to be made again."""
        return self._download.retries

    @property
    def stats(self) -> TransferStats:
        """What was met with on the way."""
        return self._download.stats

    async def run(self) -> Result:
        """Fetch, verify and publish. Raises the errors of modelferry.errors; what is committed by then stays."""
        if not self._settings.allow_plain_http:
            failure_messages.refuse_plain_http(self._manifest)
        self._dialer.observe_connections(self._on_met)
        self._download.in_flight.pipes = self._dialer.pipelined_connections
        self._begin()
        try:
            opened = await self._checkpoint.open(self._manifest)
            if not opened.published:
                await self._fetch_onto(IncomingFiles(opened.root, self._manifest.revision), opened)
        finally:
            await self._dialer.close()
        fetched = self.telemetry().fetched
        size = self._manifest.size
        return Result(self._manifest.revision, size, fetched, self.retries, opened.rehashed, opened.notes)

    async def _fetch_onto(self, disk: IncomingFiles, opened: OpenResult) -> None:
        told = (self._settings.allow_plain_http, self._on_reached, self._now)
        self._exchange = AttemptRunner(self._dialer, disk, self._checkpoint, *told)
        telling = asyncio.create_task(self._tell())
        try:
            await self._fetch(opened, self._exchange)
            await self._tell_once()
            await self._checkpoint.publish()
        except ModelferryError:
            await self._tell_once()
            raise
        finally:
            telling.cancel()
            await self._files.cancel(lambda attempt: True)
            await asyncio.gather(telling, return_exceptions=True)
            await self._dialer.close()
            disk.close()

    def telemetry(self) -> Telemetry:
        """What only this side knows, as it stands now."""
        files, throttle = self._download.files, self._dialer.throttle
        repairing = any(file.repairing is not None and not file.verified for file in files)
        return Telemetry(
            in_flight=sum(attempt.received for attempt in self._download.in_flight.tasks.values())
            + sum(part.held for file in files for part in file.assemblies.values()),
            connections=self._dialer.connections,
            retries=self.retries,
            fetched=self._exchange.fetched if self._exchange is not None else 0,
            phase="paused" if throttle.paused else "repairing" if repairing else "fetching",
            message=throttle.description if throttle.paused else self._download.message or throttle.description,
            active=self._exchange.disk.active() if self._exchange is not None else (),
            mirrors=self._download.mirrors.progress(),
            stats=self.stats.costs,
            limit=throttle.limit,
        )

    # One step: start what may start, wait for the first try to end, decide what follows.

    async def _fetch(self, opened: OpenResult, exchange: AttemptRunner) -> None:
        download = self._download
        download.progress(self._now())
        for number, (entry, found) in enumerate(zip(self._manifest.files, opened.files, strict=True)):
            file = FileDownload.of(number, entry, found)
            download.files.append(file)
            for location in file.locations:
                download.mirrors.register(location.mirror, location.origin, self._now())
        doubtful = self._files.recall(opened.quarantined)
        for file, found in zip(download.files, opened.files, strict=True):
            if file in doubtful or not can_resume(file.entry, found):
                file.restarted(await self._checkpoint.restart_file(file.number, file.generation))
            if not file.verified:
                self._files.resume(file)
        while not download.whole:
            self._dispatch(exchange, self._now())
            for file, assembly in download.slow_chunks() if self._free else ():
                await self._files.reassign(file, assembly)
            for task in await self._first_ended():
                # An earlier one of this round may have called it off, with the rest of its file.
                if (attempt := download.in_flight.tasks.pop(task, None)) is not None:
                    self._measure(attempt)
                    await self._reactions.on(task.result(), attempt.begun)

    async def _first_ended(self) -> set[asyncio.Task[Event]]:
        """Wait until a try ends, a server was reached, or a time has come that something waits for."""
        now, tasks = self._now(), self._download.in_flight.tasks
        times = self._download.times()
        if tasks or self._dialer.throttle.paused:
            # What may be fetched already waits for a connection. With none at work it came due a moment ago.
            times = [time for time in (*times, *self._download.mirrors.observation_times()) if time > now] + [
                now + _TICK
            ]
        elif not times:
            raise AssertionError("nothing runs and nothing waits, but the download is not whole")
        woken = asyncio.create_task(self._woken.wait())
        try:
            wait = max(_LEAST_WAIT, min(times) - now)
            await asyncio.wait({*tasks, woken}, timeout=wait, return_when=asyncio.FIRST_COMPLETED)
        finally:
            woken.cancel()
        self._woken.clear()
        return {task for task in tasks if task.done()}

    @property
    def _free(self) -> bool:
        """Is it the servers that bound the rates of the streams? Where a limit does, those say nothing of them."""
        return not self._dialer.throttle.paused and not self._dialer.throttle.is_bottleneck

    def _dispatch(self, exchange: AttemptRunner, now: float) -> None:
        download = self._download
        mirrors, in_flight, throttle = download.mirrors, download.in_flight, self._dialer.throttle
        mirrors.resume_paused(now)
        caps = _caps(throttle)
        mirrors.update_limits(throttle.max_streams, caps)
        mirrors.update_load(in_flight.loads)
        if throttle.paused:
            download.progress(now)  # patience does not run out
        if throttle.limit is not None:
            in_flight.cancel_excess(keep=throttle.max_streams)
        for name, cap in caps.items():
            in_flight.cancel_excess(keep=cap.streams, mirror=name)
        free = self._free
        for name in mirrors.trip_silent(now) if free else ():
            in_flight.drop_all(name)
        self._preconnect(now)
        for name, known in mirrors.states.items() if free else ():
            if mirrors.limits.is_limiting(name):
                continue
            in_flight.abort_slow(name, known.concurrency, now)
        while found := download.next(now, share=free):
            task, location = found
            file = download.file_of(task)
            if file.entry.digest is None:
                file.chosen = location
            if not task.stream:
                file.assembly(task.chunk).mirror = location.mirror
            attempt = Attempt.of(file, task, location)
            attempt.begun = now
            attempt.pipelined = exchange.pipelines(file, location, task)
            download.stats.begin(attempt.mirror)
            work = exchange.stream(file, location, task, attempt) if task.stream else exchange.part(location, attempt)
            in_flight.spawn(work, attempt)
        mirrors.update_load(in_flight.loads)
        if mirrors.observe(now, exchange.received, unlimited=free):
            self._woken.set()
        if not throttle.paused:
            self._probe(exchange, now)

    def _probe(self, exchange: AttemptRunner, now: float) -> None:
        """Ask the mirrors for a byte whose turn it is."""
        download = self._download
        for name in download.mirrors.due_probes(now):
            download.mirrors.record_probe_started(name, now + _PROBE_TIME)
            for file in download.files:
                location = next((location for location in file.usable if location.mirror == name), None)
                if location is not None and not file.verified:
                    download.in_flight.spawn(exchange.probe(file, location), Attempt(file))
                    break

    def _begin(self) -> None:
        """Connect to the first server already: what the checkpoint has takes its time to tell."""
        ranks = {mirror.name: mirror.priority for mirror in self._settings.mirrors}
        for file in self._manifest.files[:1]:
            first = min(file.locations, key=lambda location: ranks.get(location.mirror, 0))
            self._dialer.preconnect(first.url, first.mirror, 1)

    def _preconnect(self, now: float) -> None:
        """While the first request is on its way, open the connections that are needed when it is answered."""
        download = self._download
        mirrors = download.mirrors
        if (task := download.backlog.peek(now)) is None:
            return
        asks = download.in_flight.by_origin()
        file, selector = download.file_of(task), mirrors.selector()
        mirror = selector.select(file.selection_request(task), download.backlog.bytes, {})
        if mirror is None:
            return
        location = file.at_mirror(mirror)
        if mirrors.should_preconnect(mirror, location.origin):
            mirrors.record_preconnect(location.origin)
            count = min(selector.max_connections(mirror), download.requests)
            self._dialer.preconnect(location.url, location.mirror, count - asks[location.origin])

    def _on_met(self, origin: Origin, rtt: float) -> None:
        self._download.mirrors.record_round_trip(origin, rtt)
        self._woken.set()

    def _measure(self, attempt: Attempt) -> None:
        if attempt.task is not None:
            self._download.stats.spend(attempt.mirror, self._now() - attempt.begun)
        if attempt.task is not None and attempt.seconds:
            size = attempt.at - attempt.task.start
            self._download.mirrors.record_throughput(attempt.mirror, self._now(), size, attempt.seconds)

    def _on_reached(self, location: LocationState, seconds: float) -> None:
        if self._download.mirrors.record_response(location.mirror, location.origin, self._now(), seconds):
            self._woken.set()

    async def _tell_once(self) -> None:
        """So that nothing of what it cost is missing from the record."""
        with suppress(ModelferryError, TimeoutError):
            async with asyncio.timeout(_LAST_WORD):
                await self._checkpoint.report_telemetry(self.telemetry())

    async def _tell(self) -> None:
        while True:
            await self._checkpoint.report_telemetry(self.telemetry())
            await asyncio.sleep(1.0)


def _caps(throttle: Throttle) -> dict[str, MirrorLimit]:
    """Of the mirrors that have a limit of their own."""
    return {
        name: MirrorLimit(one.limit, one.max_streams, one.is_bottleneck)
        for name, one in throttle.mirrors.items()
        if one.limit
    }
