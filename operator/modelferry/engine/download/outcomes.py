"""What follows from each try that ends: what is fetched next, whom it is asked of, and which failure is the last."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

from modelferry.engine.checkpoint.api import Checkpoint
from modelferry.engine.download import failure_messages
from modelferry.engine.download.events import (
    AttemptFailed,
    ChunkReported,
    DigestCompared,
    Event,
    PartWritten,
    ProbeCompleted,
    Requeued,
    StreamCompleted,
    VersionConflict,
)
from modelferry.engine.download.file_download import FileDownload
from modelferry.engine.download.range_task import RangeTask
from modelferry.engine.download.state import DownloadState
from modelferry.engine.download.verification import SYNC_TRIES, FileStateMachine
from modelferry.engine.response import Action
from modelferry.errors import CertificateRefused, UnknownHost
from modelferry.http.backoff import backoff
from modelferry.http.wire import Origin, ServerBehavior
from modelferry.manifest import Chunk
from modelferry.values.urls import redact_url

#: Tries after which a name that never resolved is taken for wrong.
_NAME_TRIES = 4
#: Deliveries of one chunk that its server's own digest contradicts, before its way is called spoilt.
_REJECTIONS = 4
#: A server that says that it has too much to do.
_BUSY = (ServerBehavior.RETRY_AFTER, ServerBehavior.ABSURD_RETRY_AFTER)
#: Verdicts that say nothing against a mirror: a shorter range, and a server that is busy and says so.
_NO_FAILURES = (ServerBehavior.SHORTER_RANGE, *_BUSY)


class OutcomeHandler:
    """Changes a download by what its tries end as."""

    def __init__(
        self,
        download: DownloadState,
        files: FileStateMachine,
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
            case ChunkReported():
                await self._on_landed(self._download.file_of(event.task), event, begun)
            case PartWritten():
                event.location.deliver()
                self._download.mirrors.record_success(event.location.mirror, begun)
                self._download.progress(self._now())
            case Requeued():
                self._download.backlog.push(replace(event.task, alone=True), self._now())
            case VersionConflict():
                await self._on_mixed(self._download.file_of(event.task), event.task.chunk)
            case StreamCompleted():
                await self._on_streamed(self._download.file_of(event.task), event, begun)
            case AttemptFailed():
                await self._on_missed(self._download.file_of(event.task), event)
            case DigestCompared():
                await self._files.finished(event.file, event.finish)
            case ProbeCompleted():
                self._download.mirrors.record_probe(event.mirror, self._now(), event.message)

    async def _on_landed(self, file: FileDownload, landed: ChunkReported, begun: float) -> None:
        task, receipt = landed.task, landed.receipt
        if receipt.committed:
            self._files.commit(file, landed, begun)
            return
        file.assemblies.pop(task.chunk.index, None)
        self._download.retries += 1
        again, delay = RangeTask.again(task.chunk), 0.0
        if receipt.reason == "stale":
            await self._files.resync(file)
            return
        if receipt.reason == "digest":
            self._download.stats.faults[landed.location.mirror, ServerBehavior.CORRUPT_CONTENT] += 1
            # The next place is asked for that chunk, if there is one.
            times, avoid = task.rejected + 1, landed.location.mirror
            again = replace(again, rejected=times, failures=times, fresh=True, avoid=avoid)
            if again.rejected >= _REJECTIONS:
                landed.location.refused = failure_messages.spoiled(file, landed.location, task.chunk, again.rejected)
                if not file.usable:
                    raise landed.location.refused
                again = replace(again, rejected=0)
        elif receipt.reason == "disk":
            again, delay = replace(again, unsynced=task.unsynced + 1), backoff(1, self._jitter())
            if again.unsynced >= SYNC_TRIES:
                raise failure_messages.unsynced(file)
        self._download.backlog.push(again, self._now() + delay)

    async def _on_mixed(self, file: FileDownload, chunk: Chunk) -> None:
        """Parts of two versions do not make a chunk: it is fetched again, in one request."""
        self._download.retries += 1
        await self._files.cancel(lambda attempt: attempt.task is not None and attempt.task.chunk == chunk)
        self._download.backlog.drop_chunk(chunk)
        file.assemblies.pop(chunk.index, None)
        self._download.backlog.push(RangeTask.again(chunk))

    async def _on_streamed(self, file: FileDownload, streamed: StreamCompleted, begun: float) -> None:
        streamed.location.deliver()
        self._download.mirrors.record_success(streamed.location.mirror, begun)
        self._download.progress(self._now())
        if streamed.stale:
            await self._files.resync(file)
            return
        if file.missing:
            # What the checkpoint refused to commit passes by again.
            file.unsynced += 1
            if file.unsynced >= SYNC_TRIES:
                raise failure_messages.unsynced(file)
        self._files.resume(file)

    async def _on_missed(self, file: FileDownload, missed: AttemptFailed) -> None:
        task, location, verdict, now = missed.task, missed.location, missed.verdict, self._now()
        self._download.retries += verdict.behavior is not ServerBehavior.SHORTER_RANGE
        self._download.stats.miss(location.mirror, verdict)
        if missed.progressed or missed.kept > task.start:
            self._download.progress(self._now())
        self._judge(missed)
        if missed.dropped and verdict.action is Action.WAIT:
            rest = replace(self._keep(file, missed), failures=task.failures, drops=task.drops + 1)
            self._download.backlog.push(rest, now)
            return
        location.redirect_url = ""
        if verdict.action is Action.RESTART:
            await self._files.restart(file, location)
        elif verdict.action is Action.STREAM and (
            verdict.behavior is not ServerBehavior.IGNORED_RANGE or location.ignore_range(task.failures + 1)
        ):
            await self._on_entire(file, missed)
        elif self._is_hopeless(missed):
            await self._refuse(file, missed)
        elif self._should_switch_location(file, now):
            file.chosen = None
            await self._files.anew(file)
        elif self._download.budget.is_exceeded(now):
            raise failure_messages.unavailable(file, location, verdict, self._download.budget.seconds)
        else:
            if verdict.behavior in _BUSY:
                self._download.mirrors.record_busy(location.mirror, location.origin, now, verdict.delay)
            await self._again(file, missed)

    async def _on_entire(self, file: FileDownload, missed: AttemptFailed) -> None:
        """The place cannot give parts of `file`: others are asked for those. Without one it comes as one stream."""
        missed.location.entire = True
        if not self._download.mirrors.selector().can_serve_ranges(file.options):
            # Chunks cannot be compared any more: a wrong digest means the whole file once more.
            file.streaming, file.repairing = True, None
            await self._files.cancel(lambda attempt: attempt.file is file)
            self._download.backlog.drop(file.number)
            self._files.resume(file)
        elif file.entry.digest is None:
            await self._files.anew(file)
        else:
            self._download.backlog.push(replace(missed.task, avoid=missed.location.mirror), self._now())

    def _judge(self, missed: AttemptFailed) -> None:
        """What a failed try says of its mirror: one that brought bytes, or is busy, is well; a stall never is."""
        mirrors, verdict, location = self._download.mirrors, missed.verdict, missed.location
        self._download.message = f"{redact_url(location.url)} {verdict.message}; trying again"
        fruitless = verdict.behavior is ServerBehavior.STALLED or not (
            missed.progressed or missed.kept > missed.task.start
        )
        if isinstance(missed.cause, CertificateRefused):
            mirrors.record_untrusted(location.mirror, self._now(), f"{missed.cause.reason}: {verdict.message}")
        elif fruitless and not missed.dropped and (verdict.behavior not in _NO_FAILURES) and not _of_file(missed):
            mirrors.record_failure(location.mirror, self._now(), verdict.message)
        if mirrors.all_down:
            count = len(mirrors.states)
            self._download.message = f"all {count} mirrors are down; {self._download.message}"

    def _should_switch_location(self, file: FileDownload, now: float) -> bool:
        """Is it time to start a file without a digest again from another location?"""
        if file.entry.digest is not None or file.chosen is None:
            return False
        begun = len(file.missing) < len(file.chunks)
        selector = self._download.mirrors.selector()
        return selector.should_switch_location(file.options, file.chosen.mirror, now, begun=begun)

    def _is_hopeless(self, missed: AttemptFailed) -> bool:
        """Is the place of no more use for this file?"""
        if isinstance(missed.cause, UnknownHost):
            never = Origin.of(missed.location.url) not in self._download.mirrors.reached
            return never and missed.task.failures + 1 >= _NAME_TRIES
        action = missed.verdict.action
        return action is Action.REFUSE or (
            action is Action.SUSPECT and missed.location.strike(missed.task.failures + 1)
        )

    async def _again(self, file: FileDownload, missed: AttemptFailed) -> None:
        task, verdict = missed.task, missed.verdict
        again = (
            replace(task, failures=1 if missed.progressed else task.failures + 1)
            if task.stream
            else self._keep(file, missed)
        )
        again = replace(again, avoid=missed.location.mirror)
        delay = backoff(again.failures, self._jitter()) if verdict.delay is None else verdict.delay
        selector, mirror = self._download.mirrors.selector(), missed.location.mirror
        has_digest = file.entry.digest is not None
        if verdict.delay is not None and has_digest and selector.has_alternative(file.options, mirror):
            delay = 0.0  # another place has time
        if task.stream and file.entry.digest is None and not missed.location.validator:
            # Nothing tells whether the next answer is of the same version: the file begins anew (rows 14 to 16).
            file.restarted(await self._checkpoint.restart_file(file.number, file.generation))
        self._download.backlog.push(again, self._now() + delay)

    def _keep(self, file: FileDownload, missed: AttemptFailed) -> RangeTask:
        """What is left of a part that was good up to a point."""
        file.assembly(missed.task.chunk).held += missed.kept - missed.task.start
        return missed.task.after(missed.kept)

    async def _refuse(self, file: FileDownload, missed: AttemptFailed) -> None:
        missed.location.refused = failure_messages.refusal(file, missed.location, missed.verdict, missed.cause)
        if not file.usable:
            raise next(location.refused for location in file.locations if location.refused is not None)
        if file.entry.digest is None:
            # Without a digest nothing joins the bytes of two places: the next one begins anew.
            await self._files.anew(file)
        else:
            self._download.backlog.push(missed.task, self._now())


def _of_file(missed: AttemptFailed) -> bool:
    """Is the failure this file's alone? Another file of the same mirror may be there, and right."""
    return missed.verdict.action in (Action.REFUSE, Action.STREAM, Action.RESTART) and missed.cause is None
