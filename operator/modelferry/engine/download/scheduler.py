"""What is fetched next, and from where. Pure: nothing here changes the state that it reads."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator

from modelferry.engine.download.attempt import Assignment, Attempt
from modelferry.engine.download.file_download import ChunkAssembly, FileDownload, LocationState
from modelferry.engine.download.in_flight import attempt_of
from modelferry.engine.download.state import DownloadState
from modelferry.engine.download.tasks import FetchTask, RangeTask, next_part
from modelferry.engine.mirrors import MirrorSelector, MirrorSnapshot
from modelferry.engine.pacing import MIN_PART, Load, find_stalled, find_steal_candidate, steal_offset
from modelferry.manifest import Chunk


def next_assignment(download: DownloadState, now: float, *, steal: bool) -> Assignment | None:
    """What an idle connection fetches next. If nothing waits in the queue, and it may `steal`, that is half of what a
    slow attempt still has to fetch. None if there is nothing, or no mirror may be asked for more.

    The mirrors' load is the one of the last `MirrorRegistry.update_load`; rates of attempts are as of `now`.
    """
    mirrors = download.mirrors
    selector = mirrors.selector()
    if not selector.has_capacity:
        return None
    load = sum(mirrors.loads.values(), Load())
    found = _from_queue(download, selector, load, fair=True) if len(mirrors.states) > 1 else None
    if found is None:
        found = _from_queue(download, selector, load, fair=False)
    if found is None and steal and is_drained(download):
        found = _from_slow_attempt(download, selector, now)
    return found


def _from_queue(download: DownloadState, selector: MirrorSelector, load: Load, *, fair: bool) -> Assignment | None:
    """The first task that there is a location for; ``fair`` as in `MirrorSelector.select`."""
    queue, in_flight = download.queue, download.in_flight.by_origin()
    for task in queue.candidates(small=load.prefers_small, no_small=load.has_enough_small):
        file = download.files[task.file]
        mirror = selector.select(file.selection_request(task), queue.bytes, in_flight, fair=fair)
        if mirror is not None:
            return _first_part(download, task, file.at_mirror(mirror))
    return None


def _first_part(download: DownloadState, task: FetchTask, location: LocationState) -> Assignment:
    if not isinstance(task, RangeTask):
        return Assignment(task, location, queued=task)
    waiting = download.queue.bytes - task.size
    part, rest = next_part(download.mirrors.states[location.mirror].concurrency, task, waiting)
    return Assignment(part, location, queued=task, rest=rest)


def is_drained(download: DownloadState) -> bool:
    """Does nothing wait, neither in the queue nor for a server that is paused?"""
    return not len(download.queue) and not download.mirrors.paused


def _from_slow_attempt(download: DownloadState, selector: MirrorSelector, now: float) -> Assignment | None:
    """Half of a slow range, from the mirror that the other half is fetched from."""
    for name, mirror in _with_capacity(selector):
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
    if not is_drained(download) or not (selector := download.mirrors.selector()).has_capacity:
        return []
    streams = ((mirror, download.in_flight.streams(name)) for name, mirror in _with_capacity(selector))
    return [attempt_of(stream) for mirror, found in streams for stream in find_stalled(found, mirror.concurrency, now)]


def _with_capacity(selector: MirrorSelector) -> Iterator[tuple[str, MirrorSnapshot]]:
    return ((name, mirror) for name, mirror in selector.mirrors.items() if mirror.has_capacity)


def slow_chunks(download: DownloadState) -> list[tuple[FileDownload, ChunkAssembly]]:
    """Chunks that a slow mirror holds up at the end, while others have nothing to do."""
    if len(download.mirrors.states) < 2 or any(_begins_a_chunk(download, task) for task in download.queue):
        return []
    selector = download.mirrors.selector()
    if selector.running >= selector.limits.connections:
        return []
    received = _received(download)
    return [
        (file, assembly)
        for file in download.files
        for assembly in file.assemblies.values()
        if _should_reassign(selector, file, assembly, received[assembly.chunk])
    ]


def _should_reassign(selector: MirrorSelector, file: FileDownload, assembly: ChunkAssembly, received: int) -> bool:
    """Would another mirror deliver all of a chunk sooner than the one that has begun it? ``received``: bytes of it that
    are not held yet."""
    if assembly.mirror not in selector.mirrors or file.entry.digest is None or file.suspect:
        return False
    chunks = sum(one.mirror == assembly.mirror for one in file.assemblies.values())
    size, left = assembly.chunk.size, assembly.chunk.size - assembly.held - received
    return selector.should_reassign(file.options, assembly.mirror, chunks, size, left)


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
    if (task := download.queue.first()) is None:
        return None
    file, selector = download.files[task.file], download.mirrors.selector()
    mirror = selector.select(file.selection_request(task), download.queue.bytes, {})
    location = file.at_mirror(mirror) if mirror is not None else None
    if location is None or not download.mirrors.should_preconnect(location.mirror, location.origin):
        return None
    # About as many requests as could be sent at once.
    requests = len(download.queue) + download.queue.bytes // MIN_PART
    count = min(selector.max_connections(location.mirror), requests)
    return location, count - download.in_flight.by_origin()[location.origin]


def probe_location(download: DownloadState, mirror: str) -> tuple[FileDownload, LocationState] | None:
    """A file that is not verified, with its location at `mirror`."""
    for file in download.files:
        if not file.verified and mirror in (one.mirror for one in file.usable):
            return file, file.at_mirror(mirror)
    return None
