"""What a download takes into account of mirrors that are slow."""

from __future__ import annotations

import asyncio

from modelferry.engine.checkpoint.api import OpenedFile
from modelferry.engine.download import Download
from modelferry.engine.mirrors import Mirror
from modelferry.engine.pace import Budget
from modelferry.engine.plan import Lease
from modelferry.engine.servers import Servers
from modelferry.engine.transfer import Arrived, Transfer
from modelferry.engine.work import FileWork
from modelferry.manifest import Digest, FileEntry, Place

PLACES = (Place("https://slow/a", "slow"), Place("https://fast/a", "fast"))
ENTRY = FileEntry("a", 48 << 20, Digest("md5", "0" * 32), PLACES)


def held_up() -> tuple[Download, FileWork]:
    """Its first chunk is begun at a mirror that brings nothing, and another mirror brings 10 MB a second and could
    bring more."""
    servers = Servers.of(16, [Mirror("slow", 0), Mirror("fast", 0)])
    download = Download(servers, Budget(300.0, 0.0))
    file = FileWork.of(0, ENTRY, OpenedFile(0, False, (0, 1, 2)))
    download.files.append(file)
    servers.meet(file.places, 0.0)
    servers.brought("fast", 1.0, 10_000_000, 1.0)
    file.assembly(file.chunks[0]).mirror = "slow"
    return download, file


def test_a_slow_mirror_keeps_its_chunk_while_there_is_one_that_nobody_has_begun() -> None:
    download, file = held_up()
    download.backlog.push(Lease.of(file.chunks[2]))
    assert download.crawling() == []


def test_a_chunk_that_holds_up_the_end_is_taken_from_a_slow_mirror() -> None:
    download, file = held_up()
    assert download.crawling() == [(file, file.assemblies[0])]


def test_the_rest_of_a_chunk_that_is_begun_is_nothing_that_others_could_do() -> None:
    download, file = held_up()
    download.backlog.push(Lease.of(file.chunks[0]).after(file.chunks[0].start + 1))
    assert download.crawling() == [(file, file.assemblies[0])]


async def test_what_a_mirror_has_begun_counts_until_it_came_and_no_byte_of_it_twice() -> None:
    download, file = held_up()
    lease, place = Lease.of(file.chunks[0]), file.places[0]
    transfer = Transfer.of(file, lease, place)

    async def part() -> Arrived:
        return Arrived(lease, place)

    download.tries.spawn(part(), transfer)
    transfer.at, transfer.received = 5 << 20, 5 << 20
    download.next(0.0)
    assert download.servers.due == {"slow": 11 << 20}
    transfer.at, transfer.received, file.assemblies[0].held = transfer.end, 0, 16 << 20
    download.next(0.0)
    assert download.servers.due == {"slow": 0}
    await asyncio.gather(*download.tries.tasks)
