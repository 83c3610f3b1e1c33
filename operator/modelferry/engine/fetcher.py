"""Fetches a manifest: keeps as many tries running as the pace allows, and has decided what follows from each that ends.

All decisions are made one at a time, in the loop of `Fetcher.run`: `servers` says whom to ask and how much, `reactions`
and `lifecycle` what follows; the tries (`exchange`, kept in `tries`) run beside the loop and only bring values. Where a
decision is more than a line it is a pure function of `plan`, `pace`, `work` or `wire`.
"""

from __future__ import annotations

import asyncio
import random
import time
from collections import Counter
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass

from modelferry.engine import faults
from modelferry.engine.checkpoint.api import Checkpoint, Opened, Telemetry
from modelferry.engine.download import Download
from modelferry.engine.exchange import Exchange
from modelferry.engine.lifecycle import Lifecycle
from modelferry.engine.mirrors import Cap, Mirror
from modelferry.engine.pace import Budget
from modelferry.engine.plan import keeps
from modelferry.engine.reactions import Reactions
from modelferry.engine.servers import Servers
from modelferry.engine.storage.sink import Disk
from modelferry.engine.tally import Tally
from modelferry.engine.transfer import Event, Transfer
from modelferry.engine.transport.dialer import Dialer
from modelferry.engine.transport.throttle import Throttle
from modelferry.engine.wire import Origin
from modelferry.engine.work import FileWork, PlaceWork
from modelferry.errors import ModelferryError
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
    """``connections`` at once, at most; ``patience``: seconds without progress after which a download is given up;
    ``mirrors``: the standing of each, the source among them; one that is not listed ranks as its place in the manifest
    does."""

    connections: int = 16
    allow_plain_http: bool = False
    patience: float = 300.0
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
        self._manifest = manifest
        self._checkpoint = checkpoint
        self._dialer = dialer
        self._settings = settings
        self._now = clock
        servers = Servers.of(settings.connections, settings.mirrors)
        self._download = Download(servers, Budget(settings.patience, clock()))
        self._files = Lifecycle(self._download, checkpoint, clock)
        self._reactions = Reactions(self._download, self._files, checkpoint, clock, jitter)
        self._woken = asyncio.Event()
        self._exchange: Exchange | None = None

    @property
    def retries(self) -> int:
        """Tries that had to be made again."""
        return self._download.retries

    @property
    def tally(self) -> Tally:
        """What was met with on the way."""
        return self._download.tally

    async def run(self) -> Result:
        """Fetch, verify and publish. Raises the errors of modelferry.errors; what is committed by then stays."""
        if not self._settings.allow_plain_http:
            faults.refuse_plain_http(self._manifest)
        self._dialer.met = self._on_met
        self._download.tries.pipes = self._dialer.sharing.count
        self._begin()
        try:
            opened = await self._checkpoint.open(self._manifest)
            if not opened.published:
                await self._fetch_onto(Disk(opened.root, self._manifest.revision), opened)
        finally:
            await self._dialer.close()
        fetched = self.telemetry().fetched
        size = self._manifest.size
        return Result(self._manifest.revision, size, fetched, self.retries, opened.rehashed, opened.notes)

    async def _fetch_onto(self, disk: Disk, opened: Opened) -> None:
        told = (self._settings.allow_plain_http, self._on_reached, self._now)
        self._exchange = Exchange(self._dialer, disk, self._checkpoint, *told)
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
            await self._files.call_off(lambda transfer: True)
            await asyncio.gather(telling, return_exceptions=True)
            await self._dialer.close()
            disk.close()

    def telemetry(self) -> Telemetry:
        """What only this side knows, as it stands now."""
        files, throttle = self._download.files, self._dialer.throttle
        repairing = any(file.repairing is not None and not file.verified for file in files)
        return Telemetry(
            in_flight=sum(transfer.received for transfer in self._download.tries.tasks.values())
            + sum(part.held for file in files for part in file.assemblies.values()),
            connections=self._dialer.connections,
            retries=self.retries,
            fetched=self._exchange.fetched if self._exchange is not None else 0,
            phase="paused" if throttle.paused else "repairing" if repairing else "fetching",
            message=throttle.note if throttle.paused else self._download.message or throttle.note,
            active=self._exchange.disk.active() if self._exchange is not None else (),
            mirrors=self._download.servers.progress(),
            costs=self.tally.costs,
            limit=throttle.limit,
        )

    # One step: start what may start, wait for the first try to end, decide what follows.

    async def _fetch(self, opened: Opened, exchange: Exchange) -> None:
        download = self._download
        download.progress(self._now())
        for number, (entry, found) in enumerate(zip(self._manifest.files, opened.files, strict=True)):
            file = FileWork.of(number, entry, found)
            download.files.append(file)
            download.servers.meet(file.places, self._now())
        doubtful = self._files.recall(opened.quarantined)
        for file, found in zip(download.files, opened.files, strict=True):
            if file in doubtful or not keeps(file.entry, found):
                file.restarted(await self._checkpoint.restart(file.number, file.generation))
            if not file.verified:
                self._files.resume(file)
        while not download.whole:
            self._dispatch(exchange, self._now())
            for file, assembly in download.crawling() if self._free else ():
                await self._files.rescue(file, assembly)
            for task in await self._first_ended():
                # An earlier one of this round may have called it off, with the rest of its file.
                if (transfer := download.tries.tasks.pop(task, None)) is not None:
                    self._measure(transfer)
                    await self._reactions.on(task.result(), transfer.begun)

    async def _first_ended(self) -> set[asyncio.Task[Event]]:
        """Wait until a try ends, a server was reached, or a time has come that something waits for."""
        now, tasks = self._now(), self._download.tries.tasks
        times = self._download.times()
        if tasks or self._dialer.throttle.paused:
            # What may be fetched already waits for a connection. With none at work it came due a moment ago.
            times = [time for time in (*times, *self._download.servers.observe_times()) if time > now] + [now + _TICK]
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
        return not self._dialer.throttle.paused and not self._dialer.throttle.felt

    def _dispatch(self, exchange: Exchange, now: float) -> None:
        download = self._download
        servers, tries, throttle = download.servers, download.tries, self._dialer.throttle
        servers.resume(now)
        servers.bound = throttle.streams
        servers.caps = caps = _caps(throttle)
        servers.take_stock(tries.loads)
        if throttle.paused:
            download.progress(now)  # patience does not run out
        if throttle.limit is not None:
            tries.lay_down(keep=throttle.streams)
        for name, cap in caps.items():
            tries.lay_down(keep=cap.streams, mirror=name)
        free = self._free
        for name in servers.silent(now) if free else ():
            tries.drop_all(name)
        self._warm(now)
        for name, known in servers.known.items() if free else ():
            if name in caps and caps[name].felt:
                continue
            tries.drop_laggards(name, known.pace, now)
        while found := download.next(now, share=free):
            lease, place = found
            file = download.file_of(lease)
            if not lease.stream:
                file.assembly(lease.chunk).mirror = place.place.mirror
            transfer = Transfer.of(file, lease, place)
            transfer.begun = now
            transfer.pipelined = exchange.pipelines(file, place, lease)
            download.tally.begin(transfer.mirror)
            work = exchange.stream(file, place, lease, transfer) if lease.stream else exchange.part(place, transfer)
            tries.spawn(work, transfer)
        servers.take_stock(tries.loads)
        if servers.observe(now, exchange.received, free=free):
            self._woken.set()
        if not throttle.paused:
            self._probe(exchange, now)

    def _probe(self, exchange: Exchange, now: float) -> None:
        """Ask the mirrors for a byte whose turn it is."""
        download = self._download
        for name in download.servers.probes(now):
            download.servers.known[name].asleep = now + _PROBE_TIME
            for file in download.files:
                place = next((place for place in file.usable if place.place.mirror == name), None)
                if place is not None and not file.verified:
                    download.tries.spawn(exchange.probe(file, place), Transfer(file))
                    break

    def _begin(self) -> None:
        """Connect to the first server already: what the checkpoint has takes its time to tell."""
        ranks = {mirror.name: mirror.priority for mirror in self._settings.mirrors}
        for file in self._manifest.files[:1]:
            first = min(file.places, key=lambda place: ranks.get(place.mirror, 0))
            self._dialer.warm(first.url, first.mirror, 1)

    def _warm(self, now: float) -> None:
        """While the first request is on its way, open the connections that are needed when it is answered."""
        download = self._download
        servers = download.servers
        if (lease := download.backlog.peek(now)) is None:
            return
        asks = download.tries.by_origin()
        place = servers.place_for(download.file_of(lease), lease, download.backlog.bytes, Counter())
        if place is not None and servers.to_warm(place):
            cap = servers.caps.get(place.place.mirror)
            bound = min(servers.bound, cap.streams) if cap is not None else servers.bound
            count = min(servers.mirror(place).pace.allowed, servers.connections, bound, download.requests)
            self._dialer.warm(place.place.url, place.place.mirror, count - asks[place.origin])

    def _on_met(self, origin: Origin, rtt: float) -> None:
        self._download.servers.met(origin, rtt)
        self._woken.set()

    def _measure(self, transfer: Transfer) -> None:
        if transfer.lease is not None:
            self._download.tally.spend(transfer.mirror, self._now() - transfer.begun)
        if transfer.lease is not None and transfer.seconds:
            size = transfer.at - transfer.lease.start
            self._download.servers.brought(transfer.mirror, self._now(), size, transfer.seconds)

    def _on_reached(self, place: PlaceWork, seconds: float) -> None:
        if self._download.servers.answered(place, self._now(), seconds):
            self._woken.set()

    async def _tell_once(self) -> None:
        """So that nothing of what it cost is missing from the record."""
        with suppress(ModelferryError, TimeoutError):
            async with asyncio.timeout(_LAST_WORD):
                await self._checkpoint.tell(self.telemetry())

    async def _tell(self) -> None:
        while True:
            await self._checkpoint.tell(self.telemetry())
            await asyncio.sleep(1.0)


def _caps(throttle: Throttle) -> dict[str, Cap]:
    """Of the mirrors that have a limit of their own."""
    return {name: Cap(one.limit, one.streams, one.felt) for name, one in throttle.mirrors.items() if one.limit}
