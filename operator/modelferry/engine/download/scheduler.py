"""What is fetched next, and from where. Pure: nothing here changes the state that it reads."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator

from modelferry.engine.download.attempt import Assignment, Attempt
from modelferry.engine.download.file_download import ChunkAssembly, FileDownload, LocationState
from modelferry.engine.download.in_flight import attempt_of
from modelferry.engine.download.state import DownloadState
from modelferry.engine.download.tasks import FetchTask, RangeTask, next_part
from modelferry.engine.mirrors import MirrorState
from modelferry.engine.pacing import MIN_PART, Load, find_stalled, find_steal_candidate, steal_offset
from modelferry.http.wire import Origin
from modelferry.manifest import Chunk


def next_assignment(download: DownloadState, now: float, *, steal: bool) -> Assignment | None:
    """What an idle connection fetches next. If nothing waits in the queue, and it may `steal`, that is half of what a
    slow attempt still has to fetch. None if there is nothing, or no mirror may be asked for more.

    The mirrors' load is as `MirrorRegistry.update_load` was told last; rates of attempts are as of `now`.
    """
    mirrors = download.mirrors
    if not mirrors.room:
        return None
    load = sum(mirrors.loads.values(), Load())
    several = len(mirrors.known) > 1
    found = (_from_queue(download, load, fair=True) if several else None) or _from_queue(download, load, fair=False)
    if found is not None:
        return found
    return _from_slow_attempt(download, now) if steal and is_drained(download) else None


def _from_queue(download: DownloadState, load: Load, *, fair: bool) -> Assignment | None:
    """The first task that there is a location for; ``fair`` as in `MirrorRegistry.location_for`."""
    mirrors, queue, requests = download.mirrors, download.queue, download.in_flight.by_origin()
    for task in queue.candidates(small=load.prefers_small, no_small=load.has_enough_small):
        location = mirrors.location_for(download.files[task.file], task, queue.bytes, requests, fair=fair)
        if location is not None:
            return _first_part(download, task, location)
    return None


def _first_part(download: DownloadState, task: FetchTask, location: LocationState) -> Assignment:
    if not isinstance(task, RangeTask):
        return Assignment(task, location, queued=task)
    waiting = download.queue.bytes - task.size
    part, rest = next_part(download.mirrors.mirror(location).concurrency, task, waiting)
    return Assignment(part, location, queued=task, rest=rest)


def is_drained(download: DownloadState) -> bool:
    """Does nothing wait, neither in the queue nor for a server that is paused?"""
    return not len(download.queue) and not download.mirrors.paused


def _from_slow_attempt(download: DownloadState, now: float) -> Assignment | None:
    """Half of a slow range, from the mirror that the other half is fetched from."""
    for name, mirror in _with_room(download):
        found = find_steal_candidate(download.in_flight.streams(name), mirror.concurrency, now)
        if found is None:
            continue
        donor = attempt_of(found)
        location = next(one for one in donor.file.locations if one.mirror == name)
        assert donor.range is not None
        _, half = donor.range.split(steal_offset(found, mirror.concurrency))
        return Assignment(half, location, donor=donor)
    return None


def stalled_attempts(download: DownloadState, now: float) -> list[Attempt]:
    """Attempts at mirrors that may be asked for more that receive nothing, while others do."""
    if not download.mirrors.room or not is_drained(download):
        return []
    streams = ((mirror, download.in_flight.streams(name)) for name, mirror in _with_room(download))
    return [attempt_of(stream) for mirror, found in streams for stream in find_stalled(found, mirror.concurrency, now)]


def _with_room(download: DownloadState) -> Iterator[tuple[str, MirrorState]]:
    mirrors = download.mirrors
    return ((name, mirror) for name, mirror in mirrors.known.items() if mirrors.has_room(mirror))


def slow_chunks(download: DownloadState) -> list[tuple[FileDownload, ChunkAssembly]]:
    """Chunks that a slow mirror holds up at the end, while others have nothing to do."""
    mirrors = download.mirrors
    if mirrors.running.total() >= mirrors.connections or len(mirrors.known) < 2:
        return []
    if any(_begins_a_chunk(download, task) for task in download.queue):
        return []
    received = _received(download)
    return [
        (file, assembly)
        for file in download.files
        for assembly in file.assemblies.values()
        if mirrors.too_slow(file, assembly, received[assembly.chunk])
    ]


def _begins_a_chunk(download: DownloadState, task: FetchTask) -> bool:
    return not isinstance(task, RangeTask) or task.chunk.index not in download.files[task.file].assemblies


def due_bytes(download: DownloadState) -> Counter[str]:
    """Bytes of begun chunks that are still to arrive, by mirror. Of files with attempts alone: there may be
    thousands."""
    received, due = _received(download), Counter[str]()
    for file in {attempt.file.number: attempt.file for attempt in download.in_flight.attempts}.values():
        for assembly in file.assemblies.values():
            due[assembly.mirror] += assembly.chunk.size - assembly.held - received[assembly.chunk]
    return due


def _received(download: DownloadState) -> Counter[Chunk]:
    """Bytes of begun chunks that were received and are not held yet."""
    received: Counter[Chunk] = Counter()
    for attempt in download.in_flight.attempts:
        if isinstance(attempt.task, RangeTask):
            received[attempt.task.chunk] += attempt.received
    return received


def connections_to_open(download: DownloadState) -> tuple[LocationState, int] | None:
    """A location whose server has not answered yet, while its distance is known, and how many connections to it are
    opened ahead: those that will be needed when it has answered."""
    mirrors = download.mirrors
    if (task := download.queue.first()) is None:
        return None
    location = mirrors.location_for(download.files[task.file], task, download.queue.bytes, Counter[Origin]())
    if location is None or not mirrors.should_preconnect(location):
        return None
    cap = mirrors.caps.get(location.mirror)
    bound = min(mirrors.bound, cap.streams) if cap is not None else mirrors.bound
    # About as many requests as could be sent at once.
    requests = len(download.queue) + download.queue.bytes // MIN_PART
    count = min(mirrors.mirror(location).concurrency.allowed, mirrors.connections, bound, requests)
    return location, count - download.in_flight.by_origin()[location.origin]


def probe_location(download: DownloadState, mirror: str) -> tuple[FileDownload, LocationState] | None:
    """A file that is not verified, with its location at `mirror`."""
    for file in download.files:
        if not file.verified and (location := file.at_mirror(mirror)) is not None:
            return file, location
    return None
