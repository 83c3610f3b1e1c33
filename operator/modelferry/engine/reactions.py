"""What follows from each try that ends: what is fetched next, whom it is asked of, and which failure is the last."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

from modelferry.engine import faults
from modelferry.engine.checkpoint.api import Checkpoint
from modelferry.engine.download import Download
from modelferry.engine.lifecycle import SYNC_TRIES, Lifecycle
from modelferry.engine.pace import backoff
from modelferry.engine.plan import Lease
from modelferry.engine.transfer import Arrived, Event, Finished, Landed, Missed, Mixed, Probed, Returned, Streamed
from modelferry.engine.wire import Action, Origin
from modelferry.engine.work import FileWork
from modelferry.errors import CertificateRefused, UnknownHost
from modelferry.manifest import Chunk
from modelferry.manifest.urls import shown

#: Tries after which a name that never resolved is taken for wrong.
_NAME_TRIES = 4
#: Deliveries of one chunk that its server's own digest contradicts, before its way is called spoilt.
_REJECTIONS = 4
#: Verdicts that say nothing against a mirror: a shorter range, and a server that is busy and says so.
_NO_FAILURES = (4, 35, 36)


class Reactions:
    """Changes a download by what its tries end as."""

    def __init__(
        self,
        download: Download,
        files: Lifecycle,
        checkpoint: Checkpoint,
        clock: Callable[[], float],
        jitter: Callable[[], float],
    ) -> None:
        """`clock` gives seconds, `jitter` numbers in [0, 1)."""
        self._download = download
        self._checkpoint = checkpoint
        self._files = files
        self._now = clock
        self._jitter = jitter

    async def on(self, event: Event, begun: float) -> None:
        """Decide what follows from `event`, of a try that began at clock reading `begun`. Raises the error of a
        download that cannot go on."""
        match event:
            case Landed():
                await self._on_landed(self._download.file_of(event.lease), event, begun)
            case Arrived():
                self._download.servers.delivered(event.place, begun)
                self._download.progress(self._now())
            case Returned():
                self._download.backlog.push(replace(event.lease, alone=True), self._now())
            case Mixed():
                await self._on_mixed(self._download.file_of(event.lease), event.lease.chunk)
            case Streamed():
                await self._on_streamed(self._download.file_of(event.lease), event, begun)
            case Missed():
                await self._on_missed(self._download.file_of(event.lease), event)
            case Finished():
                await self._files.finished(event.file, event.finish)
            case Probed():
                self._download.servers.probed(event.mirror, self._now(), event.message)

    async def _on_landed(self, file: FileWork, landed: Landed, begun: float) -> None:
        lease, receipt = landed.lease, landed.receipt
        file.assemblies.pop(lease.chunk.index, None)
        if receipt.committed:
            self._download.servers.delivered(landed.place, begun)
            self._download.servers.mirror(landed.place).chunks += 1
            self._download.progress(self._now())
            self._files.committed(file, landed)
            return
        self._download.retries += 1
        again, delay = Lease.again(lease.chunk), 0.0
        if receipt.why == "stale":
            await self._files.resync(file)
            return
        if receipt.why == "digest":
            self._download.tally.faults[landed.place.place.mirror, 11] += 1
            # Row 11: the next place is asked for that chunk, if there is one.
            times, avoid = lease.rejected + 1, landed.place.place.mirror
            again = replace(again, rejected=times, attempt=times, fresh=True, avoid=avoid)
            if again.rejected >= _REJECTIONS:
                landed.place.refused = faults.spoiled(file, landed.place, lease.chunk, again.rejected)
                if not file.usable:
                    raise landed.place.refused
                again = replace(again, rejected=0)
        elif receipt.why == "disk":
            again, delay = replace(again, unsynced=lease.unsynced + 1), backoff(1, self._jitter())
            if again.unsynced >= SYNC_TRIES:
                raise faults.unsynced(file)
        self._download.backlog.push(again, self._now() + delay)

    async def _on_mixed(self, file: FileWork, chunk: Chunk) -> None:
        """Parts of two versions do not make a chunk: it is fetched again, in one request."""
        self._download.retries += 1
        await self._files.call_off(lambda transfer: transfer.lease is not None and transfer.lease.chunk == chunk)
        self._download.backlog.drop_chunk(chunk)
        file.assemblies.pop(chunk.index, None)
        self._download.backlog.push(Lease.again(chunk))

    async def _on_streamed(self, file: FileWork, streamed: Streamed, begun: float) -> None:
        self._download.servers.delivered(streamed.place, begun)
        self._download.progress(self._now())
        if streamed.stale:
            await self._files.resync(file)
            return
        if file.missing:
            # What the checkpoint refused to commit passes by again.
            file.unsynced += 1
            if file.unsynced >= SYNC_TRIES:
                raise faults.unsynced(file)
        self._files.resume(file)

    async def _on_missed(self, file: FileWork, missed: Missed) -> None:
        lease, place, verdict, now = missed.lease, missed.place, missed.verdict, self._now()
        self._download.retries += verdict.row != 4
        self._download.tally.miss(place.place.mirror, verdict)
        if missed.progressed or missed.kept > lease.start:
            self._download.progress(self._now())
        self._judge(missed)
        if missed.dropped and verdict.action is Action.WAIT:
            rest = replace(self._keep(file, missed), attempt=lease.attempt, drops=lease.drops + 1)
            self._download.backlog.push(rest, now)
            return
        place.route = ""
        if verdict.action is Action.RESTART:
            await self._files.restart(file, place)
        elif verdict.action is Action.STREAM and (verdict.row != 1 or place.ignore_range(lease.attempt + 1)):
            await self._on_entire(file, missed)
        elif self._is_hopeless(missed):
            await self._refuse(file, missed)
        elif self._download.servers.disloyal(file, now):
            file.chosen = None
            await self._files.anew(file)
        elif self._download.budget.spent(now):
            raise faults.unavailable(file, place, verdict, self._download.budget.patience)
        else:
            if verdict.row in (35, 36):
                self._download.servers.busy(place, now, verdict.delay)
            await self._again(file, missed)

    async def _on_entire(self, file: FileWork, missed: Missed) -> None:
        """The place cannot give parts of `file`: others are asked for those. Without one it comes as one stream."""
        missed.place.entire = True
        if not self._download.servers.in_parts(file):
            # Chunks cannot be compared any more: a wrong digest means the whole file once more.
            file.streaming, file.repairing = True, None
            await self._files.call_off(lambda transfer: transfer.file is file)
            self._download.backlog.drop(file.number)
            self._files.resume(file)
        elif file.entry.digest is None:
            await self._files.anew(file)
        else:
            self._download.backlog.push(replace(missed.lease, avoid=missed.place.place.mirror), self._now())

    def _judge(self, missed: Missed) -> None:
        """What a failed try says of its mirror: one that brought bytes, or is busy, is well; a stall never is."""
        servers, verdict, place = self._download.servers, missed.verdict, missed.place
        self._download.message = f"{shown(place.place.url)} {verdict.message}; trying again"
        fruitless = verdict.row == 32 or not (missed.progressed or missed.kept > missed.lease.start)
        if isinstance(missed.cause, CertificateRefused):
            servers.distrusted(place, self._now(), f"{missed.cause.reason}: {verdict.message}")
        elif fruitless and not missed.dropped and (verdict.row not in _NO_FAILURES) and not _of_file(missed):
            servers.failed(place, self._now(), verdict.message)
        if servers.all_down:
            count = len(servers.known)
            self._download.message = f"all {count} mirrors are down; {self._download.message}"

    def _is_hopeless(self, missed: Missed) -> bool:
        """Is the place of no more use for this file?"""
        if isinstance(missed.cause, UnknownHost):
            never = Origin.of(missed.place.place.url) not in self._download.servers.reached
            return never and missed.lease.attempt + 1 >= _NAME_TRIES
        action = missed.verdict.action
        return action is Action.REFUSE or (action is Action.SUSPECT and missed.place.strike(missed.lease.attempt + 1))

    async def _again(self, file: FileWork, missed: Missed) -> None:
        lease, verdict = missed.lease, missed.verdict
        again = (
            replace(lease, attempt=1 if missed.progressed else lease.attempt + 1)
            if lease.stream
            else self._keep(file, missed)
        )
        again = replace(again, avoid=missed.place.place.mirror)
        delay = backoff(again.attempt, self._jitter()) if verdict.delay is None else verdict.delay
        servers = self._download.servers
        if verdict.delay is not None and servers.another(file, missed.place):
            delay = 0.0  # another place has time
        if lease.stream and file.entry.digest is None and not missed.place.validator:
            # Nothing tells whether the next answer is of the same version: the file begins anew (rows 14 to 16).
            file.restarted(await self._checkpoint.restart(file.number, file.generation))
        self._download.backlog.push(again, self._now() + delay)

    def _keep(self, file: FileWork, missed: Missed) -> Lease:
        """What is left of a part that was good up to a point."""
        file.assembly(missed.lease.chunk).held += missed.kept - missed.lease.start
        return missed.lease.after(missed.kept)

    async def _refuse(self, file: FileWork, missed: Missed) -> None:
        missed.place.refused = faults.refusal(file, missed.place, missed.verdict, missed.cause)
        if not file.usable:
            raise next(place.refused for place in file.places if place.refused is not None)
        if file.entry.digest is None:
            # Without a digest nothing joins the bytes of two places: the next one begins anew.
            await self._files.anew(file)
        else:
            self._download.backlog.push(missed.lease, self._now())


def _of_file(missed: Missed) -> bool:
    """Is the failure this file's alone? Another file of the same mirror may be there, and right."""
    return missed.verdict.action in (Action.REFUSE, Action.STREAM, Action.RESTART) and missed.cause is None
