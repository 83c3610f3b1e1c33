"""The way of a file: its chunks are put on the list, its whole digest is compared, and where that is wrong, or the
source's version is another one, it begins anew."""

from __future__ import annotations

from collections.abc import Callable, Collection
from dataclasses import replace

from modelferry.engine.checkpoint.api import Checkpoint, QuarantinedMirror, VerifyResult
from modelferry.engine.download import failure_messages
from modelferry.engine.download.events import Attempt, ChunkReported, DigestCompared
from modelferry.engine.download.file_download import ChunkAssembly, FileDownload, LocationState
from modelferry.engine.download.range_task import RangeTask
from modelferry.engine.download.state import DownloadState
from modelferry.engine.mirrors import CorruptionAttribution
from modelferry.manifest import Chunk
from modelferry.values.urls import redact_url

#: Syncs of one chunk, or generations that the checkpoint lost, after which the disk is taken for broken.
SYNC_TRIES = 3
#: Generations of one file that may change under our hands.
_RESTARTS = 3


class FileStateMachine:
    """Changes the files of a download."""

    def __init__(self, download: DownloadState, checkpoint: Checkpoint, clock: Callable[[], float]) -> None:
        """`clock` gives seconds."""
        self._download = download
        self._checkpoint = checkpoint
        self._now = clock

    def resume(self, file: FileDownload) -> None:
        """Put on the list what is missing of `file`; with nothing missing, its whole digest is due."""
        file.assemblies.clear()
        if not file.missing:
            self.digest(file)
        elif file.streaming:
            whole = Chunk(file.number, 0, 0, file.entry.size)
            # Once its digest was wrong, the file is asked for past the caches.
            fresh = bool(file.mismatch[0])
            self._download.backlog.push(RangeTask(whole, 0, whole.end, fresh=fresh, stream=True))
        else:
            for index in sorted(file.missing):
                self._download.backlog.push(RangeTask.of(file.chunks[index]))

    def digest(self, file: FileDownload) -> None:
        """All chunks of `file` are committed: have its whole digest compared."""
        self._download.in_flight.spawn(self._finish(file), Attempt(file))

    async def _finish(self, file: FileDownload) -> DigestCompared:
        return DigestCompared(file, await self._checkpoint.verify_file(file.number))

    def commit(self, file: FileDownload, landed: ChunkReported, begun: float) -> None:
        """A chunk of `file` is committed, by an attempt that began at clock reading `begun`: that counts for its
        mirror, and the file goes on."""
        landed.location.deliver()
        self._download.mirrors.record_success(landed.location.mirror, begun)
        self._download.mirrors.record_chunk(landed.location.mirror)
        self._download.progress(self._now())
        self._committed(file, landed)

    def _committed(self, file: FileDownload, landed: ChunkReported) -> None:
        """A chunk of `file` is committed; the last one has the whole digest compared, where that may come out
        otherwise than before."""
        index, attribution = landed.task.chunk.index, file.attribution
        file.assemblies.pop(index, None)
        file.missing.discard(index)
        if attribution is not None and index in attribution.round:
            attribution = file.attribution = attribution.record_chunk(
                index, landed.location.mirror, landed.receipt.changed
            )
        if file.missing:
            return
        if attribution is not None and attribution.round:
            if attribution.changed:
                self.digest(file)
            else:
                self._suspect_next(file)
        elif file.repairing is None or landed.receipt.changed:
            self.digest(file)
        else:
            self.compare_next(file)

    async def finished(self, file: FileDownload, finish: VerifyResult) -> None:
        """What the whole digest came to. Raises DigestMismatch where the source's file is not the declared one."""
        if finish.verified:
            file.verified = True
            self._download.progress(self._now())
            await self._quarantine_suspect(file)
        elif finish.missing:
            file.missing = set(finish.missing)
            if file.attribution is not None:
                file.attribution = replace(file.attribution, changed=True)
            self.resume(file)
        else:
            file.mismatch = (finish.expected, finish.actual)
            if not file.streaming:
                if file.attribution is None:
                    file.attribution = CorruptionAttribution.of(
                        finish.mirrors, self._download.mirrors.quarantined_mirrors
                    )
                self._suspect_next(file)
            elif file.repairing is not None:
                raise failure_messages.mismatch(file)
            else:
                await self.anew(file)
                file.repairing = 0

    def _suspect_next(self, file: FileDownload) -> None:
        """Fetch what the next suspect brought from other mirrors; with nobody to suspect, each chunk once more."""
        attribution = (
            file.attribution.next_round([location.mirror for location in file.usable])
            if file.attribution is not None
            else None
        )
        if attribution is None:
            if file.attribution is not None:
                file.attribution = replace(file.attribution, round=frozenset(), suspect="")
            self.compare_next(file)
            return
        file.attribution, file.missing, file.repairing = attribution, set(attribution.round), 0
        self._download.message = (
            f"{file.entry.path}: wrong digest; comparing what mirror {attribution.suspect} brought"
            f" ({len(attribution.round)} of {len(file.chunks)} chunks) with other mirrors"
        )
        for index in sorted(attribution.round):
            self._download.backlog.push(RangeTask.of(file.chunks[index], reopen=True))

    async def _quarantine_suspect(self, file: FileDownload) -> None:
        """`file` is right since the suspect's chunks were replaced: it is asked for nothing more, and what came from it
        of files without a digest is fetched anew."""
        liar = file.suspect
        file.attribution = None
        if not liar:
            return
        location = next(location for location in file.locations if location.mirror == liar)
        found = QuarantinedMirror(liar, redact_url(location.url), f"served wrong bytes of {file.entry.path}")
        self._download.mirrors.quarantine(liar, found.why)
        await self._checkpoint.quarantine(found)
        for other in self._download.files:
            if (mine := _refuse(other, found)) is None:
                continue
            at_work = any(t.file is other and t.mirror == liar for t in self._download.in_flight.tasks.values())
            if other.entry.digest is None and other.chosen is mine:
                other.verified, other.chosen = False, None
                await self.anew(other)
            elif at_work:
                await self.cancel(lambda attempt, other=other: attempt.file is other)  # type: ignore[misc]
                self._download.backlog.drop(other.number)
                self.resume(other)

    def recall(self, quarantined: Collection[QuarantinedMirror]) -> list[FileDownload]:
        """Mirrors that served wrong bytes in an earlier attempt, and are the same as then, are asked for nothing more.
        Returns the files without a digest that came from them, which are to be fetched anew."""
        files, mirrors = self._download.files, self._download.mirrors
        locations = {(location.mirror, redact_url(location.url)) for file in files for location in file.locations}
        doubtful = []
        for found in quarantined:
            if (found.mirror, found.url) in locations:
                mirrors.quarantine(found.mirror, found.why)
                mine = [(file, _refuse(file, found)) for file in files]
                doubtful += [file for file, location in mine if location and location.validator is not None]
        return [file for file in doubtful if file.entry.digest is None]

    def compare_next(self, file: FileDownload) -> None:
        """Fetch the next chunk of a file with the wrong digest again, to see whether it comes the same."""
        agreed = file.attribution.confirmed if file.attribution is not None else frozenset()
        index = 0 if file.repairing is None else file.repairing
        while index in agreed:
            index += 1
        if index == len(file.chunks):
            raise failure_messages.mismatch(file)
        file.repairing = index + 1
        file.missing = {index}
        self._download.message = f"{file.entry.path}: wrong digest; comparing chunk {index + 1} of {len(file.chunks)}"
        self._download.backlog.push(RangeTask.of(file.chunks[index], reopen=True))

    async def reassign(self, file: FileDownload, assembly: ChunkAssembly) -> None:
        """Have another mirror fetch a chunk that would otherwise be waited for. What came of it is dropped."""
        chunk = assembly.chunk
        for landed, begun in await self._download.in_flight.cancel(
            lambda attempt: attempt.task is not None and attempt.task.chunk == chunk
        ):
            self.commit(file, landed, begun)
        self._download.backlog.drop_chunk(chunk)
        if chunk.index in file.missing:
            file.assemblies.pop(chunk.index, None)
            self._download.backlog.push(replace(RangeTask.again(chunk), failures=1, avoid=assembly.mirror))

    async def restart(self, file: FileDownload, location: LocationState) -> None:
        """`location` has another version of the file. Raises SourceChanged where that happens again and again."""
        file.restarts += 1
        if file.restarts > _RESTARTS:
            raise failure_messages.changing(file, location)
        await self.anew(file)

    async def resync(self, file: FileDownload) -> None:
        """The checkpoint has another generation of the file: it was started anew, and found the file lost."""
        file.unsynced += 1
        if file.unsynced >= SYNC_TRIES:
            raise failure_messages.unsynced(file)
        await self.anew(file)

    async def anew(self, file: FileDownload) -> None:
        """Begin `file` from nothing, as a new generation."""
        await self.cancel(lambda attempt: attempt.file is file)
        self._download.backlog.drop(file.number)
        file.restarted(await self._checkpoint.restart_file(file.number, file.generation))
        self.resume(file)

    async def cancel(self, which: Callable[[Attempt], bool]) -> None:
        """Stop the tries that `which` picks, and take note of what they committed with their last breath."""
        for landed, _ in await self._download.in_flight.cancel(which):
            self._download.file_of(landed.task).missing.discard(landed.task.chunk.index)


def _refuse(file: FileDownload, found: QuarantinedMirror) -> LocationState | None:
    """The place of `file` at a mirror that served wrong bytes, which is asked no more; None where it has none there, or
    no other one."""
    mine = next((location for location in file.usable if location.mirror == found.mirror), None)
    if mine is None or len(file.usable) == 1:
        return None
    mine.refused = failure_messages.quarantined(mine, found.why)
    return mine
