"""The way of a file: its chunks are put on the list, its whole digest is compared, and where that is wrong, or the
source's version is another one, it begins anew."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

from modelferry.engine import faults
from modelferry.engine.checkpoint.api import Checkpoint, Finish
from modelferry.engine.download import Download
from modelferry.engine.plan import Lease
from modelferry.engine.transfer import Finished, Transfer
from modelferry.engine.work import FileWork, PlaceWork
from modelferry.manifest import Chunk

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

    async def finished(self, file: FileWork, finish: Finish) -> None:
        """What the whole digest came to. Raises DigestMismatch where the source's file is not the declared one."""
        if finish.verified:
            file.verified = True
            self._download.progress(self._now())
        elif finish.missing:
            file.missing = set(finish.missing)
            self.resume(file)
        else:
            file.mismatch = (finish.expected, finish.got)
            if not file.streaming:
                self.compare_next(file)
            elif file.repairing is not None:
                raise faults.mismatch(file)
            else:
                await self.anew(file)
                file.repairing = 0

    def compare_next(self, file: FileWork) -> None:
        """Fetch the next chunk of a file with the wrong digest again, to see whether it comes the same."""
        index = 0 if file.repairing is None else file.repairing
        if index == len(file.chunks):
            raise faults.mismatch(file)
        file.repairing = index + 1
        file.missing = {index}
        self._download.message = f"{file.entry.path}: wrong digest; comparing chunk {index + 1} of {len(file.chunks)}"
        # From another place than the first, where there is one (row 11).
        turn = min(1, len(file.usable) - 1)
        self._download.backlog.push(replace(Lease.of(file.chunks[index], reopen=True), attempt=turn))

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
