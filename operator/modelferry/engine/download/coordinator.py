"""Fetches a manifest: starts attempts while the mirrors may be asked for more, and has the events applied.

All decisions are made one at a time, in the loop of `DownloadCoordinator.run`: `scheduler` says what is fetched next
and from where, `outcomes` and `verification` what follows from an event. Attempts run beside the loop
(`attempt_runner`, `in_flight`). docs/engine.md describes the path of a chunk.
"""

from __future__ import annotations

import asyncio
import random
import time
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass

from modelferry.checkpoint.api import Checkpoint, OpenResult, Telemetry
from modelferry.engine.download import failure_messages, scheduler
from modelferry.engine.download.attempt import Assignment, Attempt
from modelferry.engine.download.attempt_runner import AttemptRunner
from modelferry.engine.download.command_runner import CommandRunner
from modelferry.engine.download.events import (
    AttemptEnded,
    AttemptStarted,
    ChunkTooSlow,
    ConnectionOpened,
    DownloadOpened,
    Event,
    Outcome,
    ProbeStarted,
    TimePassed,
)
from modelferry.engine.download.in_flight import InFlight
from modelferry.engine.download.outcomes import OutcomeHandler
from modelferry.engine.download.state import DownloadState, Phase
from modelferry.engine.download.tasks import ProbeTask
from modelferry.engine.download.transfer_stats import TransferStats
from modelferry.engine.mirrors import Mirror, MirrorLimit, MirrorRegistry
from modelferry.engine.pacing import ProgressDeadline, patience
from modelferry.errors import ModelferryError
from modelferry.http.client import HTTPClient
from modelferry.http.transport.throttle import Throttle
from modelferry.manifest import Manifest
from modelferry.messages.earlier_revisions import RetainedRevision
from modelferry.storage.incoming_files import IncomingFiles

#: Seconds after which rates and concurrency are checked, whether something happened or not.
_TICK = 0.25
#: Seconds that are worth waiting for: less can be lost in the rounding of a clock, and would be waited for forever.
_MIN_WAIT = 0.001
#: Seconds after which a probe that has not ended is forgotten.
_PROBE_TIMEOUT = 60.0
#: Seconds that the final telemetry report may take.
_FINAL_REPORT_TIMEOUT = 2.0
#: Seconds between two telemetry reports.
_REPORT_INTERVAL = 1.0


@dataclass(frozen=True, slots=True)
class Settings:
    """``connections`` at once, at most; ``progress_deadline``: seconds without progress after which a download is given
    up; ``mirrors``: the rank of each, the source among them; one that is not listed ranks as its location in the
    manifest does."""

    connections: int = 16
    allow_plain_http: bool = False
    progress_deadline: float = 300.0
    mirrors: tuple[Mirror, ...] = ()


@dataclass(frozen=True, slots=True)
class Result:
    """A complete, published download. ``bytes`` of the model; ``fetched`` bytes arrived over the network. ``retained``:
    the earlier revisions on the disk."""

    revision: str
    bytes: int
    fetched: int
    retries: int
    rehashed: int
    notes: tuple[str, ...] = ()
    retained: tuple[RetainedRevision, ...] = ()


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
        """`clock` gives seconds, `jitter` numbers in [0, 1). `http_client` is closed at the end of `run`."""
        self._manifest = manifest
        self._checkpoint = checkpoint
        self._http_client = http_client
        self._settings = settings
        self._now = clock
        self._download = DownloadState(
            MirrorRegistry.of(settings.connections, settings.mirrors),
            ProgressDeadline(settings.progress_deadline, clock()),
            in_flight=InFlight(http_client.pipelined_connections),
        )
        self._woken = asyncio.Event()
        self._outcomes = OutcomeHandler(self._download, clock, jitter, self._woken.set)
        self._runner: AttemptRunner | None = None
        http_client.observe_connections(lambda origin, rtt: self._apply_fact(ConnectionOpened(origin, rtt)))

    @property
    def retries(self) -> int:
        """Attempts that had to be repeated."""
        return self._download.retries

    @property
    def stats(self) -> TransferStats:
        """Server behaviors and attempts."""
        return self._download.stats

    async def run(self) -> Result:
        """Fetch, verify and publish. Raises the errors of modelferry.errors; what is committed by then stays."""
        if not self._settings.allow_plain_http:
            failure_messages.refuse_plain_http(self._manifest)
        self._connect_ahead()
        try:
            opened = await self._checkpoint.open(self._manifest)
            retained = opened.retained
            if not opened.published:
                retained = await self._fetch_onto(IncomingFiles(opened.root, self._manifest.revision), opened)
        finally:
            await self._http_client.close()
        fetched = self.telemetry().fetched
        size = self._manifest.size
        return Result(self._manifest.revision, size, fetched, self.retries, opened.rehashed, opened.notes, retained)

    async def _fetch_onto(self, disk: IncomingFiles, opened: OpenResult) -> tuple[RetainedRevision, ...]:
        plain_http = self._settings.allow_plain_http
        self._runner = AttemptRunner(self._http_client, disk, self._checkpoint, plain_http, self._apply_fact, self._now)
        reporting = asyncio.create_task(self._report_telemetry())
        try:
            commands = CommandRunner(self._outcomes, self._download.in_flight, self._checkpoint, self._runner.run)
            await self._fetch(opened, self._runner, commands)
            await self._report_final_telemetry()
            return await self._checkpoint.publish()
        except ModelferryError:
            await self._report_final_telemetry()
            raise
        finally:
            reporting.cancel()
            await self._download.in_flight.cancel(lambda attempt: True)
            await asyncio.gather(reporting, return_exceptions=True)
            await self._http_client.close()
            disk.close()

    def telemetry(self) -> Telemetry:
        """What only this side knows."""
        download, throttle = self._download, self._http_client.throttle
        phase = Phase.PAUSED if throttle.paused else Phase.REPAIRING if download.repairing else Phase.FETCHING
        return Telemetry(
            in_flight=sum(attempt.received for attempt in download.in_flight.attempts)
            + sum(part.held for file in download.files for part in file.assemblies.values()),
            connections=self._http_client.connections,
            retries=self.retries,
            fetched=self._runner.fetched if self._runner is not None else 0,
            phase=phase,
            message=throttle.description if throttle.paused else download.message or throttle.description,
            active=self._runner.disk.active() if self._runner is not None else (),
            mirrors=download.mirrors.progress(),
            stats=self.stats.totals,
            limit=throttle.limit,
        )

    async def _report_telemetry(self) -> None:
        while True:
            await self._checkpoint.report_telemetry(self.telemetry())
            await asyncio.sleep(_REPORT_INTERVAL)

    async def _report_final_telemetry(self) -> None:
        """So that nothing is missing from the stats."""
        with suppress(ModelferryError, TimeoutError):
            async with asyncio.timeout(_FINAL_REPORT_TIMEOUT):
                await self._checkpoint.report_telemetry(self.telemetry())

    # One step: start attempts, wait for the first one to end, apply its outcome.

    async def _fetch(self, opened: OpenResult, runner: AttemptRunner, commands: CommandRunner) -> None:
        download = self._download
        await commands.apply(DownloadOpened(self._manifest, opened))
        while not download.complete:
            self._dispatch(runner, commands, self._now())
            for file, assembly in scheduler.slow_chunks(download) if self._servers_limit else ():
                await commands.apply(ChunkTooSlow(file, assembly))
            for task in await self._first_ended():
                # An earlier one of this round may have cancelled it, with the rest of its file.
                if (attempt := download.in_flight.remove(task)) is not None:
                    await commands.apply(AttemptEnded(attempt))
                    await commands.apply(task.result())

    async def _first_ended(self) -> set[asyncio.Task[Outcome]]:
        """Wait until an attempt ends, a server answers for the first time, or something is due."""
        now, tasks = self._now(), self._download.in_flight.tasks
        times = self._download.wake_times
        if tasks or self._http_client.throttle.paused:
            # What may be fetched already waits for a connection. With no attempt running it came due a moment ago.
            times = [time for time in (*times, *self._download.mirrors.observation_times()) if time > now] + [
                now + _TICK
            ]
        elif not times:
            raise AssertionError("no attempt runs and nothing is due, but the download is not complete")
        woken = asyncio.create_task(self._woken.wait())
        try:
            wait = max(_MIN_WAIT, min(times) - now)
            await asyncio.wait({*tasks, woken}, timeout=wait, return_when=asyncio.FIRST_COMPLETED)
        finally:
            woken.cancel()
        self._woken.clear()
        return {task for task in tasks if task.done()}

    def _apply_fact(self, event: Event) -> None:
        commands = self._outcomes.apply(event)
        assert not commands, f"{type(event).__name__} has consequences that take time"

    # What may start.

    @property
    def _servers_limit(self) -> bool:
        """Is it the servers that limit the rates? If a bandwidth limit does, those say nothing of the servers."""
        return not self._http_client.throttle.paused and not self._http_client.throttle.is_bottleneck

    def _dispatch(self, runner: AttemptRunner, commands: CommandRunner, now: float) -> None:
        download, throttle = self._download, self._http_client.throttle
        mirrors, free = download.mirrors, self._servers_limit
        self._apply_fact(TimePassed(throttle.paused))
        mirrors.update_limits(throttle.max_streams, _limits(throttle))
        self._update_load()
        self._end_early(now)
        self._preconnect()
        self._start_assigned(runner, commands, now)
        if mirrors.observe(now, runner.received, unlimited=free):
            self._woken.set()
        if not throttle.paused:
            self._probe(commands, now)

    def _update_load(self) -> None:
        download = self._download
        due = scheduler.due_bytes(download) if len(download.mirrors.states) > 1 else {}
        download.mirrors.update_load(download.in_flight.loads, due)

    def _end_early(self, now: float) -> None:
        """Abort the attempts that are more than a limit is enough for, and those of slow or silent servers."""
        mirrors, in_flight, throttle = self._download.mirrors, self._download.in_flight, self._http_client.throttle
        if throttle.limit is not None:
            in_flight.cancel_excess(keep=throttle.max_streams)
        for name, limit in mirrors.limits.mirrors.items():
            in_flight.cancel_excess(keep=limit.streams, mirror=name)
        if not self._servers_limit:
            return
        in_flight.sample(now)
        for name in mirrors.trip_silent(now):
            in_flight.drop_all(name)
        for name, state in mirrors.states.items():
            if not mirrors.limits.is_limiting(name):
                in_flight.abort_slow(name, state.concurrency, now)

    def _start_assigned(self, runner: AttemptRunner, commands: CommandRunner, now: float) -> None:
        """Start what the queue has; and if it has nothing more, what others take too long for."""
        download = self._download
        while (assignment := scheduler.next_assignment(download, now, steal=False)) is not None:
            self._start_one(assignment, runner, commands, now)
        if not self._servers_limit or not scheduler.is_drained(download):
            return
        for attempt in scheduler.stalled_attempts(download, now):
            download.in_flight.drop(attempt)
        while (assignment := scheduler.next_assignment(download, now, steal=True)) is not None:
            self._start_one(assignment, runner, commands, now)

    def _start_one(self, assignment: Assignment, runner: AttemptRunner, commands: CommandRunner, now: float) -> None:
        task, location = assignment.task, assignment.location
        attempt = Attempt.of(self._download.files[task.file], task, location, now)
        head_wait = self._download.mirrors.states[location.mirror].head_wait
        left = self._download.deadline.left(now)
        attempt.timeouts = patience(self._http_client.timeouts, task.stalls, head_wait, left)
        attempt.measured_from = now + 2 * head_wait
        attempt.pipelined = runner.can_pipeline(attempt)
        self._apply_fact(AttemptStarted(attempt, assignment))
        commands.start(attempt)
        self._update_load()

    def _probe(self, commands: CommandRunner, now: float) -> None:
        """Probe the mirrors whose turn it is."""
        for name in self._download.mirrors.due_probes(now):
            self._apply_fact(ProbeStarted(name, now + _PROBE_TIMEOUT))
            if (found := scheduler.probe_location(self._download, name)) is not None:
                file, location = found
                commands.start(Attempt(file, ProbeTask(file.number), location))

    def _connect_ahead(self) -> None:
        """Connect to the first server already: the checkpoint takes a while to open the directory."""
        ranks = {mirror.name: mirror.priority for mirror in self._settings.mirrors}
        for file in self._manifest.files[:1]:
            first = min(file.locations, key=lambda location: ranks.get(location.mirror, 0))
            self._http_client.preconnect(first.url, first.mirror, 1)

    def _preconnect(self) -> None:
        """While the first request is on its way, open the connections that are needed when it is answered."""
        if (found := scheduler.connections_to_open(self._download)) is not None:
            location, count = found
            self._download.mirrors.record_preconnect(location.origin)
            self._http_client.preconnect(location.url, location.mirror, count)


def _limits(throttle: Throttle) -> dict[str, MirrorLimit]:
    """Of the mirrors that have a limit of their own."""
    return {
        name: MirrorLimit(one.limit, one.max_streams, one.is_bottleneck)
        for name, one in throttle.mirrors.items()
        if one.limit
    }
