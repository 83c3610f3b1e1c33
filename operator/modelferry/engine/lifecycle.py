"""The way of a file: its chunks are put on the list, its whole digest is compared, and where that is wrong, or the
source's version is another one, it begins anew."""

from __future__ import annotations

from collections.abc import Callable, Collection
from dataclasses import replace

from modelferry.engine import faults
from modelferry.engine.checkpoint.api import Checkpoint, Finish, Quarantined
from modelferry.engine.download import Download
from modelferry.engine.mirrors import Inquiry
from modelferry.engine.plan import Lease
from modelferry.engine.transfer import Finished, Landed, Transfer
from modelferry.engine.work import Assembly, FileWork, PlaceWork
from modelferry.manifest import Chunk
from modelferry.manifest.urls import shown

#: Syncs of one chunk, or generations that the checkpoint lost, after which the disk is taken for broken.
SYNC_TRIES = 3
#: Generations of one file that may change under our hands.
_RESTARTS = 3


class Lifecycle:
    """Changes the files of a download."""

    def __init__(self, download: Download, checkpoint: Checkpoint, clock: Callable[[], float]) -> None:
        """`clock` gives seconds."""
        self._download = download
        self._checkpoint = checkpoint
        self._now = clock

    def resume(self, file: FileWork) -> None:
        """Put on the list what is missing of `file`; with nothing missing, its whole digest is due."""
        file.assemblies.clear()
        if not file.missing:
            self.digest(file)
        elif file.streaming:
            whole = Chunk(file.number, 0, 0, file.entry.size)
            # Once its digest was wrong, the file is asked for past the caches.
            fresh = bool(file.mismatch[0])
            self._download.backlog.push(Lease(whole, 0, whole.end, fresh=fresh, stream=True))
        else:
            for index in sorted(file.missing):
                self._download.backlog.push(Lease.of(file.chunks[index]))

    def digest(self, file: FileWork) -> None:
        """All chunks of `file` are committed: have its whole digest compared."""
        self._download.tries.spawn(self._finish(file), Transfer(file))

    async def _finish(self, file: FileWork) -> Finished:
        return Finished(file, await self._checkpoint.finish(file.number))

    def committed(self, file: FileWork, landed: Landed) -> None:
        """A chunk of `file` is committed; the last one has the whole digest compared, where that may come out
        otherwise than before."""
        index, inquiry = landed.lease.chunk.index, file.inquiry
        file.missing.discard(index)
        if inquiry is not None and index in inquiry.round:
            inquiry = file.inquiry = inquiry.arrived(index, landed.place.place.mirror, landed.receipt.changed)
        if file.missing:
            return
        if inquiry is not None and inquiry.round:
            if inquiry.changed:
                self.digest(file)
            else:
                self._suspect_next(file)
        elif file.repairing is None or landed.receipt.changed:
            self.digest(file)
        else:
            self.compare_next(file)

    async def finished(self, file: FileWork, finish: Finish) -> None:
        """What the whole digest came to. Raises DigestMismatch where the source's file is not the declared one."""
        if finish.verified:
            file.verified = True
            self._download.progress(self._now())
            await self._convict(file)
        elif finish.missing:
            file.missing = set(finish.missing)
            if file.inquiry is not None:
                file.inquiry = replace(file.inquiry, changed=True)
            self.resume(file)
        else:
            file.mismatch = (finish.expected, finish.got)
            if not file.streaming:
                if file.inquiry is None:
                    file.inquiry = Inquiry.of(finish.came_from, self._download.servers.liars)
                self._suspect_next(file)
            elif file.repairing is not None:
                raise faults.mismatch(file)
            else:
                await self.anew(file)
                file.repairing = 0

    def _suspect_next(self, file: FileWork) -> None:
        """Fetch what the next suspect brought from other mirrors; with nobody to suspect, each chunk once more."""
        inquiry = file.inquiry.next([place.place.mirror for place in file.usable]) if file.inquiry is not None else None
        if inquiry is None:
            if file.inquiry is not None:
                file.inquiry = replace(file.inquiry, round=frozenset(), suspect="")
            self.compare_next(file)
            return
        file.inquiry, file.missing, file.repairing = inquiry, set(inquiry.round), 0
        self._download.message = (
            f"{file.entry.path}: wrong digest; comparing what mirror {inquiry.suspect} brought"
            f" ({len(inquiry.round)} of {len(file.chunks)} chunks) with other mirrors"
        )
        for index in sorted(inquiry.round):
            self._download.backlog.push(Lease.of(file.chunks[index], reopen=True))

    async def _convict(self, file: FileWork) -> None:
        """`file` is right since the suspect's chunks were replaced: it is asked for nothing more, and what came from it
        of files without a digest is fetched anew."""
        liar = file.suspect
        file.inquiry = None
        if not liar:
            return
        place = next(place for place in file.places if place.place.mirror == liar)
        found = Quarantined(liar, shown(place.place.url), f"served wrong bytes of {file.entry.path}")
        self._download.servers.quarantine(liar, found.why)
        await self._checkpoint.quarantine(found)
        for other in self._download.files:
            if (mine := _refuse(other, found)) is None:
                continue
            at_work = any(t.file is other and t.mirror == liar for t in self._download.tries.tasks.values())
            if other.entry.digest is None and other.chosen is mine:
                other.verified, other.chosen = False, None
                await self.anew(other)
            elif at_work:
                await self.call_off(lambda transfer, other=other: transfer.file is other)  # type: ignore[misc]
                self._download.backlog.drop(other.number)
                self.resume(other)

    def recall(self, quarantined: Collection[Quarantined]) -> list[FileWork]:
        """Mirrors that served wrong bytes in an earlier attempt, and are the same as then, are asked for nothing more.
        Returns the files without a digest that came from them, which are to be fetched anew."""
        files, servers = self._download.files, self._download.servers
        places = {(place.place.mirror, shown(place.place.url)) for file in files for place in file.places}
        doubtful = []
        for found in quarantined:
            if (found.mirror, found.url) in places:
                servers.quarantine(found.mirror, found.why)
                mine = [(file, _refuse(file, found)) for file in files]
                doubtful += [file for file, place in mine if place and place.validator is not None]
        return [file for file in doubtful if file.entry.digest is None]

    def compare_next(self, file: FileWork) -> None:
        """Fetch the next chunk of a file with the wrong digest again, to see whether it comes the same."""
        agreed = file.inquiry.agreed if file.inquiry is not None else frozenset()
        index = 0 if file.repairing is None else file.repairing
        while index in agreed:
            index += 1
        if index == len(file.chunks):
            raise faults.mismatch(file)
        file.repairing = index + 1
        file.missing = {index}
        self._download.message = f"{file.entry.path}: wrong digest; comparing chunk {index + 1} of {len(file.chunks)}"
        self._download.backlog.push(Lease.of(file.chunks[index], reopen=True))

    async def rescue(self, file: FileWork, assembly: Assembly) -> None:
        """Have another mirror fetch a chunk that would otherwise be waited for. What came of it is dropped."""
        chunk = assembly.chunk
        await self.call_off(lambda transfer: transfer.lease is not None and transfer.lease.chunk == chunk)
        self._download.backlog.drop_chunk(chunk)
        file.assemblies.pop(chunk.index, None)
        if chunk.index in file.missing:
            self._download.backlog.push(replace(Lease.again(chunk), attempt=1, avoid=assembly.mirror))

    async def restart(self, file: FileWork, place: PlaceWork) -> None:
        """`place` has another version of the file. Raises SourceChanged where that happens again and again."""
        file.restarts += 1
        if file.restarts > _RESTARTS:
            raise faults.changing(file, place)
        await self.anew(file)

    async def resync(self, file: FileWork) -> None:
        """The checkpoint has another generation of the file: it was started anew, and found the file lost."""
        file.unsynced += 1
        if file.unsynced >= SYNC_TRIES:
            raise faults.unsynced(file)
        await self.anew(file)

    async def anew(self, file: FileWork) -> None:
        """Begin `file` from nothing, as a new generation."""
        await self.call_off(lambda transfer: transfer.file is file)
        self._download.backlog.drop(file.number)
        file.restarted(await self._checkpoint.restart(file.number, file.generation))
        self.resume(file)

    async def call_off(self, which: Callable[[Transfer], bool]) -> None:
        """Stop the tries that `which` picks, and take note of what they committed with their last breath."""
        for landed in await self._download.tries.call_off(which):
            self._download.file_of(landed.lease).missing.discard(landed.lease.chunk.index)


def _refuse(file: FileWork, found: Quarantined) -> PlaceWork | None:
    """The place of `file` at a mirror that served wrong bytes, which is asked no more; None where it has none there, or
    no other one."""
    mine = next((place for place in file.usable if place.place.mirror == found.mirror), None)
    if mine is None or len(file.usable) == 1:
        return None
    mine.refused = faults.quarantined(mine, found.why)
    return mine
