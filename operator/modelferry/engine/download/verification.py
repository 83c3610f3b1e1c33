"""The state machine of a file: its missing chunks are queued, its digest is compared, and if that differs, the mirror
that served corrupt data is searched for; if the source has another version, the file is restarted.

`OutcomeHandler.apply` calls it. What takes time is returned as commands, which the coordinator carries out.
"""

from __future__ import annotations

from collections.abc import Callable, Collection
from dataclasses import replace

from modelferry.checkpoint.api import QuarantinedMirror, VerifyResult
from modelferry.engine.download import failure_messages
from modelferry.engine.download.commands import (
    CancelAttempts,
    Command,
    CompareDigest,
    QuarantineMirror,
    RestartFile,
    WithdrawChunk,
)
from modelferry.engine.download.events import ChunkCommitted, ChunkTooSlow, ChunkWithdrawn, GenerationOpened
from modelferry.engine.download.file_download import FileDownload, LocationState
from modelferry.engine.download.state import DownloadState
from modelferry.engine.download.tasks import RangeTask, StreamTask
from modelferry.engine.download.transitions import FILE_TRANSITIONS, ChunkEvent, FileAction, FileEvent, FileState
from modelferry.engine.mirrors import CorruptionAttribution
from modelferry.manifest import Chunk
from modelferry.values.urls import redact_url

#: Syncs of one chunk, or generations that the checkpoint lost, after which the disk is considered broken.
MAX_SYNC_FAILURES = 3
#: Generations of one file that may change while it is fetched.
_MAX_RESTARTS = 3


class FileStateMachine:
    """Changes the files of a download; ``commands`` are due because of that."""

    def __init__(self, download: DownloadState, clock: Callable[[], float]) -> None:
        """`clock` gives seconds."""
        self._download = download
        self._now = clock
        self.commands: list[Command] = []
        self._actions: dict[FileAction, Callable[[FileDownload], None]] = {
            FileAction.NONE: lambda file: None,
            FileAction.QUEUE_MISSING: self._queue_missing,
            FileAction.COMPARE_DIGEST: lambda file: self.commands.append(CompareDigest(file)),
            FileAction.QUARANTINE_SUSPECT: self._quarantine_suspect,
            FileAction.FETCH_FROM_OTHERS: self._fetch_from_others,
            FileAction.FETCH_NEXT_CHUNK: self._fetch_next_chunk,
            FileAction.FETCH_STREAM_AGAIN: self._fetch_stream_again,
            FileAction.RESTART: self._restart,
        }

    def advance(self, file: FileDownload, event: FileEvent) -> None:
        """`event` happens to `file`. Raises KeyError if that cannot be, and the error of a file that cannot be
        fetched."""
        file.state, action = FILE_TRANSITIONS[file.state, event]
        self._actions[action](file)

    # Chunks.

    def commit(self, committed: ChunkCommitted) -> None:
        """A chunk is committed: that counts for its mirror, and the last one lets the file go on."""
        attempt, index = committed.attempt, committed.index
        file, location, mirrors = attempt.file, attempt.source, self._download.mirrors
        file.advance_chunk(index, ChunkEvent.COMMITTED)
        location.deliver()
        mirrors.record_success(location.mirror, attempt.begun)
        mirrors.record_chunk(location.mirror)
        self._download.record_progress(self._now())
        attribution = file.attribution
        if attribution is not None and index in attribution.round:
            file.attribution = attribution.record_chunk(index, location.mirror, committed.changed)
        # A stream may have more bytes than it should: its end decides.
        if not file.missing and not file.streaming:
            self.advance(file, self._completion(file, committed.changed))

    def _completion(self, file: FileDownload, changed: bool) -> FileEvent:
        """What it means that the last missing chunk is committed; ``changed``: with other bytes than before."""
        attribution = file.attribution
        if attribution is not None and attribution.round:
            return FileEvent.COMPLETE if attribution.changed else self._next_suspect(file)
        return FileEvent.COMPLETE if file.compared is None or changed else FileEvent.UNCHANGED

    def withdraw_chunk(self, file: FileDownload, chunk: Chunk, retry: RangeTask) -> None:
        """Have `chunk` fetched by `retry`, instead of by the attempts at it."""
        self.commands.append(WithdrawChunk(file, chunk, retry))

    def withdrawn(self, event: ChunkWithdrawn) -> None:
        """No attempt at a chunk runs any more. One that was committed meanwhile is not fetched again."""
        file, chunk = event.file, event.chunk
        self._download.queue.drop_chunk(chunk)
        file.advance_chunk(chunk.index, ChunkEvent.WITHDRAWN)
        if chunk.index in file.missing:
            self._download.queue.push(event.retry)

    def reassign(self, event: ChunkTooSlow) -> None:
        """Have another mirror fetch a chunk that would be waited for. What was received of it is dropped."""
        chunk = event.assembly.chunk
        retry = replace(RangeTask.again(chunk), failures=1, avoid=event.assembly.mirror)
        self.withdraw_chunk(event.file, chunk, retry)

    # What is missing.

    def _queue_missing(self, file: FileDownload) -> None:
        retry, file.retry = file.retry, None
        comparing = file.state in (FileState.ATTRIBUTING, FileState.COMPARING)
        if not file.missing:
            self.advance(file, FileEvent.COMPLETE)
        elif retry is not None:
            self._download.queue.push(*retry)
        elif file.streaming:
            # Once its digest was wrong, the file must not come from a cache.
            self._download.queue.push(StreamTask(file.number, file.entry.size, fresh=bool(file.mismatch[0])))
        else:
            for index in sorted(file.missing):
                self._download.queue.push(RangeTask.of(file.chunks[index], reopen=comparing))

    def stream(self, file: FileDownload) -> None:
        """No location serves ranges of `file`: it is fetched as one stream. Chunks cannot be compared any more; a wrong
        digest means the entire file once more."""
        file.streaming, file.compared = True, None
        self.commands.append(CancelAttempts(file))

    def attempts_cancelled(self, file: FileDownload) -> None:
        """No attempt at `file` runs any more, and it goes on."""
        self._download.queue.drop(file.number)
        file.assemblies.clear()
        self.advance(file, FileEvent.NO_RANGES if file.streaming else FileEvent.INTERRUPTED)

    # The digest.

    def digest_compared(self, file: FileDownload, result: VerifyResult) -> None:
        """The checkpoint compared the digest. Raises DigestMismatch if the source's file is not the declared one, and
        UnexpectedContent if no digest is declared and it plainly is no such file."""
        if result.verified:
            self._download.record_progress(self._now())
            self.advance(file, FileEvent.DIGEST_MATCHES)
        elif result.mistaken and file.entry.digest is None:
            raise failure_messages.mistaken(file, result.mistaken)
        elif result.missing:
            if file.attribution is not None:
                file.attribution = replace(file.attribution, changed=True)
            self._reopen(file, result.missing)
            self.advance(file, FileEvent.CHUNKS_LOST)
        else:
            file.mismatch, file.mistaken = (result.expected, result.actual), result.mistaken
            if file.streaming:
                self.advance(file, FileEvent.STREAM_DIFFERS)
                return
            if file.attribution is None:
                quarantined = self._download.mirrors.quarantined_mirrors
                file.attribution = CorruptionAttribution.of(result.mirrors, quarantined)
            self.advance(file, self._next_suspect(file))

    def _next_suspect(self, file: FileDownload) -> FileEvent:
        attribution = file.attribution
        assert attribution is not None
        suspected = attribution.next_round([location.mirror for location in file.usable])
        if suspected is None:
            file.attribution = replace(attribution, round=frozenset(), suspect="")
            return FileEvent.NO_SUSPECT
        file.attribution = suspected
        return FileEvent.SUSPECT

    def _fetch_from_others(self, file: FileDownload) -> None:
        assert file.attribution is not None
        chunks, file.compared = file.attribution.round, 0
        self._download.message = (
            f"{file.entry.path}: wrong digest; comparing what mirror {file.suspect} delivered"
            f" ({len(chunks)} of {len(file.chunks)} chunks) with other mirrors"
        )
        self._compare(file, chunks)

    def _fetch_next_chunk(self, file: FileDownload) -> None:
        confirmed = file.attribution.confirmed if file.attribution is not None else frozenset()
        index = file.compared or 0
        while index in confirmed:
            index += 1
        if index == len(file.chunks):
            raise failure_messages.mismatch(file)
        file.compared = index + 1
        self._download.message = f"{file.entry.path}: wrong digest; comparing chunk {index + 1} of {len(file.chunks)}"
        self._compare(file, [index])

    def _compare(self, file: FileDownload, indices: Collection[int]) -> None:
        self._reopen(file, indices)
        for index in sorted(indices):
            self._download.queue.push(RangeTask.of(file.chunks[index], reopen=True))

    def _reopen(self, file: FileDownload, indices: Collection[int]) -> None:
        for index in indices:
            file.advance_chunk(index, ChunkEvent.REOPENED)

    # Mirrors that served corrupt data.

    def _quarantine_suspect(self, file: FileDownload) -> None:
        """The digest of `file` matches since the suspect's chunks were replaced: the suspect gets no more requests, and
        what it delivered of files without a digest is fetched again."""
        suspect = file.suspect
        file.attribution = None
        if not suspect:
            return
        location = next(location for location in file.locations if location.mirror == suspect)
        found = QuarantinedMirror(suspect, redact_url(location.url), f"served wrong bytes of {file.entry.path}")
        self._download.mirrors.quarantine(suspect, found.why)
        self.commands.append(QuarantineMirror(found))
        for other in self._download.files:
            if (refused := self._refuse(other, found)) is None:
                continue
            if other.entry.digest is None and other.chosen is refused:
                self.advance(other, FileEvent.RESTART)
            elif any(one.file is other and one.mirror == suspect for one in self._download.in_flight.attempts):
                self.commands.append(CancelAttempts(other))

    def recall(self, quarantined: Collection[QuarantinedMirror]) -> list[FileDownload]:
        """Mirrors that served corrupt data to an earlier process, and have the same URLs still, get no requests.
        Returns the files without a digest that they delivered, which are to be fetched again."""
        files, mirrors = self._download.files, self._download.mirrors
        known = {(location.mirror, redact_url(location.url)) for file in files for location in file.locations}
        doubtful = []
        for found in quarantined:
            if (found.mirror, found.url) in known:
                mirrors.quarantine(found.mirror, found.why)
                refused = [(file, self._refuse(file, found)) for file in files]
                doubtful += [file for file, location in refused if location and location.validator is not None]
        return [file for file in doubtful if file.entry.digest is None]

    def _refuse(self, file: FileDownload, found: QuarantinedMirror) -> LocationState | None:
        """Use the location of `file` at a mirror that served corrupt data no more; None if there is none, or no other
        one."""
        location = next((one for one in file.usable if one.mirror == found.mirror), None)
        if location is None or len(file.usable) == 1:
            return None
        location.refused = failure_messages.quarantined(location, found.why)
        return location

    # Generations.

    def source_changed(self, file: FileDownload, location: LocationState) -> None:
        """`location` has another version of the file. Raises SourceChanged if that happens again and again."""
        file.restarts += 1
        if file.restarts > _MAX_RESTARTS:
            raise failure_messages.changing(file, location)
        self.advance(file, FileEvent.RESTART)

    def generation_lost(self, file: FileDownload) -> None:
        """The checkpoint has another generation of the file: it was started again, and found the file lost."""
        self.count_unsynced(file)
        self.advance(file, FileEvent.RESTART)

    def count_unsynced(self, file: FileDownload) -> None:
        """Chunks of `file` were not committed because of the disk. Raises DiskError if that happens again and again."""
        file.unsynced += 1
        if file.unsynced >= MAX_SYNC_FAILURES:
            raise failure_messages.unsynced(file)

    def _fetch_stream_again(self, file: FileDownload) -> None:
        if file.compared is not None:
            raise failure_messages.mismatch(file)
        self._restart(file)
        file.compared = 0

    def _restart(self, file: FileDownload) -> None:
        file.attribution = file.compared = None
        self.commands.append(RestartFile(file))

    def generation_opened(self, event: GenerationOpened) -> None:
        """The checkpoint has begun a new generation of a file."""
        file = event.file
        self._download.queue.drop(file.number)
        file.begin_generation(event.opened)
        self.advance(file, FileEvent.GENERATION_OPENED)
