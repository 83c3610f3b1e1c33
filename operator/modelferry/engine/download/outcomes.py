"""What follows from each event: what is fetched next, from which server, and which failure ends the download."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from typing import Any

from modelferry.engine.download import failure_messages
from modelferry.engine.download.commands import Command
from modelferry.engine.download.events import (
    AttemptEnded,
    AttemptFailed,
    AttemptsCancelled,
    AttemptStarted,
    BytesWritten,
    ChunkCommitted,
    ChunkRejected,
    ChunkTooSlow,
    ChunkWithdrawn,
    ConnectionOpened,
    DigestCompared,
    DownloadOpened,
    Event,
    GenerationOpened,
    PartAccepted,
    PartWritten,
    ProbeCompleted,
    ProbeStarted,
    RedirectExpired,
    Requeued,
    ResponseAccepted,
    StreamCompleted,
    TimePassed,
    VersionConflict,
)
from modelferry.engine.download.file_download import FileDownload, can_resume
from modelferry.engine.download.state import DownloadState
from modelferry.engine.download.tasks import RangeTask, StreamTask
from modelferry.engine.download.transitions import ChunkEvent, FileEvent
from modelferry.engine.download.verification import MAX_SYNC_FAILURES, FileStateMachine
from modelferry.engine.verdicts import Action
from modelferry.errors import CertificateRefused, Denied, ServerMisbehaves, UnknownHost
from modelferry.http.backoff import backoff
from modelferry.http.wire import ServerBehavior
from modelferry.values.urls import redact_url

#: Attempts after which a name that never resolved is considered wrong.
_MAX_NAME_FAILURES = 4
#: Deliveries of one chunk that its server's own digest contradicts, before its location is refused.
_MAX_REJECTIONS = 4
#: Behaviors that a single stale or broken node of a server shows, while the others have the file.
_OF_ONE_NODE = (ServerBehavior.NOT_AVAILABLE, ServerBehavior.SIZE_CHANGED, ServerBehavior.FILE_GREW)
_STALE = (*_OF_ONE_NODE, ServerBehavior.VALIDATOR_CHANGED)
#: Attempts after which the size that a location gives is believed, if it has not sent the file before.
_MAX_SIZE_FAILURES = 3
#: Behaviors of a server that is busy and says so.
_BUSY = (ServerBehavior.RETRY_AFTER, ServerBehavior.ABSURD_RETRY_AFTER)
#: Behaviors that say nothing against a mirror: a shorter range, and those.
_NO_FAILURES = (ServerBehavior.SHORTER_RANGE, *_BUSY)


class OutcomeHandler:
    """The only writer of a `DownloadState` and the objects in it."""

    def __init__(
        self, download: DownloadState, clock: Callable[[], float], jitter: Callable[[], float], wake: Callable[[], None]
    ) -> None:
        """`clock` gives seconds, `jitter` numbers in [0, 1). `wake` is called if more may be requested than before."""
        self._download = download
        self._files = FileStateMachine(download, clock)
        self._now = clock
        self._jitter = jitter
        self._wake = wake
        self._handlers: dict[type[Event], Callable[[Any], None]] = {
            ResponseAccepted: self._on_response,
            RedirectExpired: self._on_redirect_expired,
            PartAccepted: self._on_part_accepted,
            BytesWritten: self._on_bytes_written,
            PartWritten: self._on_part_written,
            ChunkCommitted: self._files.commit,
            ChunkRejected: self._on_rejected,
            VersionConflict: self._on_version_conflict,
            AttemptFailed: self._on_failed,
            Requeued: self._on_requeued,
            StreamCompleted: self._on_stream_completed,
            DigestCompared: lambda event: self._files.digest_compared(event.file, event.result),
            ProbeStarted: self._on_probe_started,
            ProbeCompleted: lambda event: download.mirrors.record_probe(event.mirror, clock(), event.message),
            DownloadOpened: self._on_opened,
            ConnectionOpened: self._on_connected,
            TimePassed: self._on_time_passed,
            AttemptStarted: self._on_started,
            AttemptEnded: self._on_ended,
            ChunkTooSlow: self._files.reassign,
            ChunkWithdrawn: self._files.withdrawn,
            AttemptsCancelled: lambda event: self._files.attempts_cancelled(event.file),
            GenerationOpened: self._files.generation_opened,
        }

    def apply(self, event: Event) -> list[Command]:
        """Change the state by `event`; returns what is to be done because of it. Raises the error of a download that
        cannot go on."""
        self._handlers[type(event)](event)
        commands = self._files.commands[:]
        self._files.commands.clear()
        return commands

    # The coordinator.

    def _on_opened(self, event: DownloadOpened) -> None:
        download, opened = self._download, event.opened
        download.record_progress(self._now())
        for number, (entry, found) in enumerate(zip(event.manifest.files, opened.files, strict=True)):
            file = FileDownload.of(number, entry, found)
            download.files.append(file)
            for location in file.locations:
                download.mirrors.register(location.mirror, location.origin, self._now())
        doubtful = self._files.recall(opened.quarantined)
        for file, found in zip(download.files, opened.files, strict=True):
            if file in doubtful or not can_resume(file.entry, found):
                self._files.advance(file, FileEvent.RESTART)
            elif not file.verified:
                self._files.advance(file, FileEvent.INTERRUPTED)

    def _on_connected(self, event: ConnectionOpened) -> None:
        self._download.mirrors.record_round_trip(event.origin, event.rtt)
        self._wake()

    def _on_time_passed(self, event: TimePassed) -> None:
        now = self._now()
        self._download.queue.release(now)
        self._download.mirrors.resume_paused(now)
        if event.paused:
            self._download.record_progress(now)

    def _on_started(self, event: AttemptStarted) -> None:
        attempt, assignment, queue = event.attempt, event.assignment, self._download.queue
        file, location = attempt.file, attempt.source
        if assignment.queued is not None:
            queue.remove(assignment.queued)
        if assignment.rest is not None:
            queue.push(assignment.rest)
        if file.entry.digest is None:
            file.chosen = location
        if isinstance(attempt.task, RangeTask):
            if assignment.donor is not None:
                assignment.donor.end = attempt.task.start
            index = attempt.task.chunk.index
            file.advance_chunk(index, ChunkEvent.STARTED)
            file.assemblies[index].mirror = location.mirror
        self._download.stats.record_start(attempt.mirror)

    def _on_probe_started(self, event: ProbeStarted) -> None:
        self._download.mirrors.record_probe_started(event.mirror, event.until)

    def _on_ended(self, event: AttemptEnded) -> None:
        attempt = event.attempt
        if not isinstance(attempt.task, RangeTask | StreamTask):
            return
        self._download.stats.record_end(attempt.mirror, self._now() - attempt.begun)
        if isinstance(attempt.task, RangeTask) and attempt.seconds:
            size = attempt.at - attempt.task.start
            self._download.mirrors.record_throughput(attempt.mirror, self._now(), size, attempt.seconds)

    # Facts.

    def _on_response(self, event: ResponseAccepted) -> None:
        location = event.location
        if self._download.mirrors.record_response(location.mirror, location.origin, self._now(), event.waited):
            self._wake()
        location.redirect_url = event.redirect_url
        location.validator = event.validator or location.validator

    def _on_redirect_expired(self, event: RedirectExpired) -> None:
        event.location.redirect_url = ""

    def _on_part_accepted(self, event: PartAccepted) -> None:
        task = event.attempt.range
        assert task is not None
        event.attempt.file.assemblies[task.chunk.index].provenance = event.provenance
        if event.ranged:
            event.attempt.source.keep_range()

    def _on_bytes_written(self, event: BytesWritten) -> None:
        task, file = event.attempt.range, event.attempt.file
        assert task is not None
        index = task.chunk.index
        assembly = file.assemblies[index]
        last = assembly.held + task.size == task.chunk.size
        file.advance_chunk(index, ChunkEvent.LAST_PART_WRITTEN if last else ChunkEvent.PART_WRITTEN, task.size)
        if event.digest is not None:
            assembly.digests.append(event.digest)
        event.attempt.received = 0

    # Outcomes.

    def _on_part_written(self, event: PartWritten) -> None:
        event.attempt.source.deliver()
        self._download.mirrors.record_success(event.attempt.mirror, event.attempt.begun)
        self._download.record_progress(self._now())

    def _on_requeued(self, event: Requeued) -> None:
        task = event.attempt.range
        assert task is not None
        self._download.queue.push(replace(task, alone=True))

    def _on_rejected(self, event: ChunkRejected) -> None:
        file, task, location = event.attempt.file, event.attempt.range, event.attempt.source
        assert task is not None
        file.advance_chunk(task.chunk.index, ChunkEvent.REJECTED)
        self._download.retries += 1
        again, ready = RangeTask.again(task.chunk), None
        if event.reason == "stale":
            self._files.generation_lost(file)
            return
        if event.reason == "digest":
            self._download.stats.record_behavior(location.mirror, ServerBehavior.CORRUPT_CONTENT)
            # The chunk is fetched from the next location, if there is one.
            times = task.rejected + 1
            again = replace(again, rejected=times, failures=times, fresh=True, avoid=location.mirror)
            if again.rejected >= _MAX_REJECTIONS:
                location.refused = failure_messages.spoiled(file, location, task.chunk, again.rejected)
                if not file.usable:
                    raise location.refused
                again = replace(again, rejected=0)
        elif event.reason == "disk":
            again, ready = replace(again, unsynced=task.unsynced + 1), self._now() + backoff(1, self._jitter())
            if again.unsynced >= MAX_SYNC_FAILURES:
                raise failure_messages.unsynced(file)
        self._download.queue.push(again, ready)

    def _on_version_conflict(self, event: VersionConflict) -> None:
        """Parts of two versions do not make a chunk: it is fetched again, in one request."""
        task = event.attempt.range
        assert task is not None
        self._download.retries += 1
        self._files.withdraw_chunk(event.attempt.file, task.chunk, RangeTask.again(task.chunk))

    def _on_stream_completed(self, event: StreamCompleted) -> None:
        file = event.attempt.file
        event.attempt.source.deliver()
        self._download.mirrors.record_success(event.attempt.mirror, event.attempt.begun)
        self._download.record_progress(self._now())
        if event.stale:
            self._files.generation_lost(file)
            return
        if file.missing:
            # What the checkpoint did not commit is streamed again.
            self._files.count_unsynced(file)
        self._files.advance(file, FileEvent.INTERRUPTED)

    def _on_failed(self, event: AttemptFailed) -> None:
        attempt, location, verdict, now = event.attempt, event.attempt.source, event.verdict, self._now()
        file, mirrors = attempt.file, self._download.mirrors
        self._download.retries += verdict.behavior is not ServerBehavior.SHORTER_RANGE
        self._download.stats.record_behavior(location.mirror, verdict.behavior)
        if event.progressed or _kept_bytes(event):
            self._download.record_progress(now)
        self._judge_mirror(event)
        if attempt.dropped and verdict.action is Action.WAIT and (task := attempt.range) is not None:
            rest = replace(self._keep(file, task, event.kept), failures=task.failures, drops=task.drops + 1)
            self._download.queue.push(rest)
            return
        location.redirect_url = ""
        location.varied += verdict.behavior is ServerBehavior.VALIDATOR_CHANGED
        if verdict.action is Action.RESTART:
            self._files.source_changed(file, location)
        elif verdict.action is Action.STREAM and (
            verdict.behavior is not ServerBehavior.IGNORED_RANGE or location.ignore_range(_failures(event) + 1)
        ):
            self._on_no_ranges(event)
        elif self._is_hopeless(event):
            if _may_forbid_first_range(event):
                self._on_no_ranges(event)
            else:
                self._refuse(event)
        elif self._should_switch_location(file, now):
            file.chosen = None
            self._files.advance(file, FileEvent.RESTART)
        elif self._download.deadline.is_exceeded(now):
            raise failure_messages.unavailable(file, location, verdict, self._download.deadline.seconds)
        else:
            delay = verdict.delay
            if verdict.behavior in _BUSY:
                delay = mirrors.record_busy(location.mirror, location.origin, now, delay)
            self._retry(event, delay)

    def _on_no_ranges(self, event: AttemptFailed) -> None:
        """The location does not serve ranges of the file: others do, or it arrives as one stream."""
        file, location = event.attempt.file, event.attempt.source
        location.entire = True
        if not self._download.mirrors.selector().can_serve_ranges(file.options):
            self._files.stream(file)
        elif file.entry.digest is None:
            self._files.advance(file, FileEvent.RESTART)
        else:
            self._download.queue.push(replace(event.attempt.remaining, avoid=location.mirror))

    def _judge_mirror(self, event: AttemptFailed) -> None:
        """What a failure says of the mirror: one that delivered bytes, or is busy, is healthy; after a stall it is
        not."""
        attempt, verdict, mirrors = event.attempt, event.verdict, self._download.mirrors
        location = attempt.source
        self._download.message = f"{redact_url(location.url)} {verdict.message}; trying again"
        fruitless = verdict.behavior is ServerBehavior.STALLED or not (event.progressed or _kept_bytes(event))
        if isinstance(event.cause, CertificateRefused):
            mirrors.record_untrusted(location.mirror, self._now(), f"{event.cause.reason}: {verdict.message}")
        elif (
            fruitless and not attempt.dropped and verdict.behavior not in _NO_FAILURES and not _concerns_one_file(event)
        ):
            mirrors.record_failure(location.mirror, self._now(), verdict.message)
        if mirrors.all_down:
            self._download.message = f"all {len(mirrors.states)} mirrors are down; {self._download.message}"

    def _should_switch_location(self, file: FileDownload, now: float) -> bool:
        """Is it time to start a file without a digest again from another location?"""
        if file.entry.digest is not None or file.chosen is None:
            return False
        begun = len(file.missing) < len(file.chunks)
        selector = self._download.mirrors.selector()
        return selector.should_switch_location(file.options, file.chosen.mirror, now, begun=begun)

    def _is_hopeless(self, event: AttemptFailed) -> bool:
        """Is the location of no more use for this file?"""
        location, attempts = event.attempt.source, _failures(event) + 1
        if isinstance(event.cause, UnknownHost):
            return location.origin not in self._download.mirrors.reached and attempts >= _MAX_NAME_FAILURES
        action = event.verdict.action
        if action is Action.REFUSE and not self._may_be_one_node(event):
            return True
        return action in (Action.REFUSE, Action.SUSPECT) and location.strike(attempts)

    def _may_be_one_node(self, event: AttemptFailed) -> bool:
        """May another connection to the location lead to a node that has the file? A location that has sent it before
        has such nodes. What they send must be known to be of the same version."""
        location, has_digest = event.attempt.source, event.attempt.file.entry.digest is not None
        if event.cause is not None or event.verdict.behavior not in _OF_ONE_NODE:
            return False
        if event.verdict.behavior is ServerBehavior.NOT_AVAILABLE:
            return location.has_sent and (has_digest or bool(location.validator))
        return has_digest and (location.has_sent or _failures(event) + 1 < _MAX_SIZE_FAILURES)

    def _retry(self, event: AttemptFailed, delay: float | None) -> None:
        """Queue what is missing again, after `delay` seconds, or else after a backoff."""
        attempt, verdict, file = event.attempt, event.verdict, event.attempt.file
        location = attempt.source
        again: RangeTask | StreamTask
        if (task := attempt.range) is not None:
            # A cache may be what is stale.
            fresh = task.fresh or verdict.behavior in _STALE
            again = replace(self._keep(file, task, event.kept), avoid=location.mirror, fresh=fresh)
        else:
            again = self._stream_again(event)
        if verdict.behavior is ServerBehavior.STALLED and attempt.timeouts is not None:
            again = replace(again, stalls=again.stalls + 1)
            self._download.mirrors.record_stall(location.mirror, attempt.timeouts.head)
        selector, has_digest = self._download.mirrors.selector(), file.entry.digest is not None
        if delay is None:
            delay = backoff(again.failures, self._jitter())
        elif has_digest and selector.has_alternative(file.options, location.mirror):
            delay = 0.0  # another location has time
        ready = self._now() + delay
        if isinstance(again, StreamTask) and file.entry.digest is None and not location.validator:
            # Nothing tells whether the next response is of the same version.
            file.retry = again, ready
            self._files.advance(file, FileEvent.RESTART)
        else:
            self._download.queue.push(again, ready)

    def _stream_again(self, event: AttemptFailed) -> StreamTask:
        task = event.attempt.task
        assert isinstance(task, StreamTask)
        failures = 1 if event.progressed else task.failures + 1
        return replace(task, failures=failures, avoid=event.attempt.source.mirror)

    def _keep(self, file: FileDownload, task: RangeTask, kept: int) -> RangeTask:
        """What is left of a range that is good up to file offset `kept`."""
        file.advance_chunk(task.chunk.index, ChunkEvent.FAILED, kept - task.start)
        return task.after(kept)

    def _refuse(self, event: AttemptFailed) -> None:
        attempt, file = event.attempt, event.attempt.file
        location = attempt.source
        location.refused = failure_messages.refusal(file, location, event.verdict, event.cause)
        if not file.usable:
            raise next(one.refused for one in file.locations if one.refused is not None)
        if file.entry.digest is None:
            # Without a digest nothing joins the bytes of two locations: the next one begins again.
            self._files.advance(file, FileEvent.RESTART)
        else:
            self._download.queue.push(attempt.remaining)


def _kept_bytes(event: AttemptFailed) -> bool:
    task = event.attempt.range
    return task is not None and event.kept > task.start


def _failures(event: AttemptFailed) -> int:
    task = event.attempt.task
    return task.failures if isinstance(task, RangeTask | StreamTask) else 0


def _may_forbid_first_range(event: AttemptFailed) -> bool:
    """May a refusal be of the range alone? Some firewalls forbid ranges that begin at the first byte. A request without
    a range shows it, and if that is refused too, so is the location."""
    verdict, task, location = event.verdict, event.attempt.range, event.attempt.source
    refused = verdict.behavior is ServerBehavior.NOT_AVAILABLE and verdict.error in (Denied, ServerMisbehaves)
    ranged = task is not None and task.start == 0 and task.end < event.attempt.file.entry.size
    return refused and ranged and event.cause is None and not location.entire


def _concerns_one_file(event: AttemptFailed) -> bool:
    """Is the failure this file's alone? Another file of the same mirror may be there, and right."""
    return event.verdict.action in (Action.REFUSE, Action.STREAM, Action.RESTART) and event.cause is None
