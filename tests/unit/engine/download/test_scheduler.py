"""What a download takes into account of mirrors that are slow."""

from __future__ import annotations

import asyncio

from modelferry.checkpoint.api import OpenedFile
from modelferry.engine.download import scheduler
from modelferry.engine.download.attempt import Attempt
from modelferry.engine.download.events import PartWritten
from modelferry.engine.download.file_download import FileDownload
from modelferry.engine.download.state import DownloadState
from modelferry.engine.download.tasks import RangeTask, StreamTask
from modelferry.engine.download.transitions import ChunkEvent
from modelferry.engine.mirrors import Mirror, MirrorRegistry
from modelferry.engine.pacing import ProgressDeadline
from modelferry.manifest import Digest, FileEntry, Location

PLACES = (Location("https://slow/a", "slow"), Location("https://fast/a", "fast"))
ENTRY = FileEntry("a", 48 << 20, Digest("md5", "0" * 32), PLACES)


def held_up() -> tuple[DownloadState, FileDownload]:
    """Its first chunk is begun at a mirror that brings nothing, and another mirror brings 10 MB a second and could
    bring more."""
    servers = MirrorRegistry.of(16, [Mirror("slow", 0), Mirror("fast", 0)])
    download = DownloadState(servers, ProgressDeadline(300.0, 0.0))
    file = FileDownload.of(0, ENTRY, OpenedFile(0, False, (0, 1, 2)))
    download.files.append(file)
    for location in file.locations:
        servers.register(location.mirror, location.origin, 0.0)
    servers.record_throughput("fast", 1.0, 10_000_000, 1.0)
    file.advance_chunk(0, ChunkEvent.STARTED)
    file.assemblies[0].mirror = "slow"
    return download, file


def test_a_slow_mirror_keeps_its_chunk_while_there_is_one_that_nobody_has_begun() -> None:
    download, file = held_up()
    download.queue.push(RangeTask.of(file.chunks[2]))
    assert scheduler.slow_chunks(download) == []


def test_a_chunk_that_holds_up_the_end_is_taken_from_a_slow_mirror() -> None:
    download, file = held_up()
    assert scheduler.slow_chunks(download) == [(file, file.assemblies[0])]


def test_the_rest_of_a_chunk_that_is_begun_is_nothing_that_others_could_do() -> None:
    download, file = held_up()
    download.queue.push(RangeTask.of(file.chunks[0]).after(file.chunks[0].start + 1))
    assert scheduler.slow_chunks(download) == [(file, file.assemblies[0])]


def test_a_stream_is_not_divided() -> None:
    download, file = held_up()
    stream = StreamTask(0, 1 << 30)
    download.queue.push(stream)
    found = scheduler.next_assignment(download, 0.0, steal=False)
    assert found is not None
    assert (found.task, found.queued, found.rest) == (stream, stream, None)
    assert found.location in file.locations


def test_choosing_changes_nothing() -> None:
    download, file = held_up()
    download.queue.push(RangeTask.of(file.chunks[2]))
    first = scheduler.next_assignment(download, 0.0, steal=False)
    assert first is not None
    assert first == scheduler.next_assignment(download, 0.0, steal=False)
    assert list(download.queue) == [RangeTask.of(file.chunks[2])]


async def test_what_a_mirror_has_begun_counts_until_it_came_and_no_byte_of_it_twice() -> None:
    download, file = held_up()
    task, location = RangeTask.of(file.chunks[0]), file.locations[0]
    attempt = Attempt.of(file, task, location)

    async def part() -> PartWritten:
        return PartWritten(attempt)

    download.in_flight.spawn(part(), attempt)
    attempt.at, attempt.received = 5 << 20, 5 << 20
    assert scheduler.due_bytes(download) == {"slow": 11 << 20}
    attempt.at, attempt.received, file.assemblies[0].held = attempt.end, 0, 16 << 20
    assert scheduler.due_bytes(download) == {"slow": 0}
    await asyncio.gather(*download.in_flight.tasks)
