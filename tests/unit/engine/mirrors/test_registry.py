"""Whom the next part is asked of."""

from __future__ import annotations

from collections import Counter
from dataclasses import replace

import pytest

from modelferry.engine.checkpoint.api import OpenedFile
from modelferry.engine.download.file_download import FileDownload
from modelferry.engine.download.tasks import FetchTask, RangeTask, StreamTask
from modelferry.engine.download.transitions import ChunkEvent
from modelferry.engine.mirrors import Mirror, MirrorLimit
from modelferry.engine.mirrors.registry import SILENCE, MirrorRegistry
from modelferry.engine.pacing import Load, stream_meter
from modelferry.errors import NotFound
from modelferry.http.wire import Origin
from modelferry.manifest import Digest, FileEntry, Location

PLACES = (Location("https://source/a"), Location("https://one/a", "one"), Location("https://two/a", "two"))
PINNED = FileEntry("a", 1 << 20, Digest("md5", "0" * 32), PLACES)
UNPINNED = FileEntry("a", 1 << 20, None, PLACES)
FOUND = OpenedFile(0, False, (0,))
ORDERED = (Mirror("one", 0), Mirror("two", 1), Mirror("source", 2))


class Choice:
    """MirrorRegistry that have all answered before, and a file."""

    def __init__(self, *mirrors: Mirror, entry: FileEntry = PINNED, found: OpenedFile = FOUND) -> None:
        self.file = FileDownload.of(0, entry, found)
        self.servers = MirrorRegistry.of(16, mirrors)
        self.servers.meet(self.file.locations, 0.0)
        self.servers.reached = {Origin.of(location.url) for location in entry.locations}
        self.task = RangeTask.of(self.file.chunks[0])

    def begin(self, mirror: str) -> None:
        """The first chunk is begun at `mirror`."""
        self.file.advance_chunk(0, ChunkEvent.STARTED)
        self.file.assemblies[0].mirror = mirror

    def ask(self, task: FetchTask | None = None, waiting: int = 0) -> str:
        """The mirror that is asked next; empty where it has to be waited for."""
        location = self.servers.location_for(self.file, task or self.task, waiting, Counter())
        if self.file.entry.digest is None:
            self.file.chosen = location
        return location.location.mirror if location is not None else ""

    def fail(self, name: str, times: int = 3) -> None:
        """Failures in a row."""
        location = next(location for location in self.file.locations if location.location.mirror == name)
        for _ in range(times):
            self.servers.failed(location, 1.0, "was reset")

    def deliver(self, name: str) -> None:
        """Good bytes."""
        self.servers.delivered(next(location for location in self.file.locations if location.location.mirror == name))


def test_the_lowest_priority_is_asked_whatever_the_order_in_the_manifest() -> None:
    assert Choice(*ORDERED).ask() == "one"
    assert Choice().ask() == "source"


def test_a_lease_that_failed_goes_elsewhere_once() -> None:
    choice = Choice(*ORDERED)
    assert choice.ask(RangeTask.of(choice.file.chunks[0]).after(0)) == "one"
    failed = RangeTask(choice.task.chunk, 0, 10, failures=1, avoid="one")
    assert choice.ask(failed) == "two"
    assert choice.ask() == "one"


def test_a_place_that_has_no_such_file_is_passed_over_for_that_file() -> None:
    choice = Choice(*ORDERED)
    choice.file.locations[1].refused = NotFound("gone")
    assert choice.ask() == "two"


def test_a_mirror_that_is_down_is_passed_over_until_a_probe_comes_back_and_then_tried_once() -> None:
    choice = Choice(*ORDERED)
    choice.fail("one")
    assert choice.ask() == "two"
    choice.servers.probed("one", 5.0, "")
    assert choice.ask() == "one"
    choice.servers.running["one"] = 1
    assert choice.ask() == "two"
    choice.deliver("one")
    assert choice.ask() == "one"


def test_the_source_is_the_last_resort_and_falling_back_to_it_is_counted_once() -> None:
    choice = Choice(*ORDERED)
    choice.fail("one")
    choice.fail("two")
    choice.fail("one", 1)
    choice.deliver("two")
    assert choice.ask(RangeTask(choice.task.chunk, 0, 10, failures=1, avoid="two")) == "source"
    choice.fail("two", 1)
    assert choice.ask() == "source"
    assert {m.name: m.fallbacks for m in choice.servers.progress()} == {"one": 0, "two": 1, "source": 1}
    choice.servers.probed("one", 5.0, "")
    choice.deliver("one")
    choice.fail("one")
    assert {m.name: m.fallbacks for m in choice.servers.progress()} == {"one": 0, "two": 1, "source": 2}


def test_a_mirror_is_untried_until_it_answers_a_request_or_a_probe_well() -> None:
    choice = Choice(*ORDERED)

    def untried() -> set[str]:
        return {mirror.name for mirror in choice.servers.progress() if mirror.untried}

    assert untried() == {"one", "two", "source"}
    choice.fail("one", 1)
    choice.servers.probed("two", 5.0, "")
    choice.servers.answered(choice.file.locations[0], 5.0, 0.1)
    assert untried() == {"one"}
    choice.fail("one", 2)
    assert untried() == set(), "it is known to be down"


def test_with_all_down_each_is_asked_in_turn() -> None:
    choice = Choice(*ORDERED)
    for name in ("one", "two", "source"):
        choice.fail(name)
    assert choice.servers.all_down
    assert choice.ask() == "one"
    assert choice.ask(RangeTask(choice.task.chunk, 0, 10, failures=1, avoid="one")) == "two"
    assert choice.ask(RangeTask(choice.task.chunk, 0, 10, failures=2, avoid="two")) == "one"


def test_a_server_that_asked_to_be_left_alone_is_not_waited_for_where_there_is_another() -> None:
    choice = Choice(*ORDERED)
    choice.servers.busy(choice.file.locations[1], 0.0, 20.0)
    assert choice.ask() == "two"
    choice.servers.resume(21.0)
    assert choice.ask() == "one"


def test_an_unknown_server_is_asked_by_one_try_at_a_time() -> None:
    choice = Choice(*ORDERED)
    choice.servers.reached.clear()
    asks = Counter([Origin.of("https://one/a")])
    assert choice.servers.location_for(choice.file, choice.task, 0, asks) is None
    assert choice.ask() == "one"


def test_without_a_digest_the_bytes_of_two_mirrors_do_not_mix() -> None:
    choice = Choice(*ORDERED, entry=UNPINNED)
    assert choice.ask() == "one"
    choice.fail("one", 2)
    assert choice.ask(RangeTask(choice.task.chunk, 0, 10, failures=1, avoid="one")) == "one"


def test_without_a_digest_the_mirror_that_began_goes_on() -> None:
    choice = Choice(*ORDERED, entry=UNPINNED, found=OpenedFile(0, False, (), (("two", '"v"'),)))
    assert choice.ask() == "two"


def test_without_a_digest_another_mirror_begins_anew_at_once_or_after_half_a_minute() -> None:
    choice = Choice(*ORDERED, entry=UNPINNED)
    assert choice.ask() == "one"
    choice.fail("one")
    assert choice.servers.should_switch_location(choice.file, 1.0)
    begun = Choice(*ORDERED, entry=UNPINNED, found=OpenedFile(0, False, (), (("one", '"v"'),)))
    assert begun.ask() == "one"
    begun.fail("one")
    assert not begun.servers.should_switch_location(begun.file, 20.0)
    assert begun.servers.should_switch_location(begun.file, 31.0)


def test_parts_of_a_chunk_come_from_one_mirror_while_it_is_well() -> None:
    choice = Choice(Mirror("one", 0), Mirror("two", 0), Mirror("source", 1))
    choice.begin("two")
    assert choice.ask() == "two"
    choice.fail("two")
    assert choice.ask() == "one"


def test_a_chunk_that_is_begun_takes_no_connection_beyond_a_share_that_a_better_mirror_could_have() -> None:
    choice = Choice(Mirror("one", 0), Mirror("two", 0), Mirror("source", 1))
    choice.begin("one")
    choice.servers.brought("one", 1.0, 300_000, 3.0)
    choice.servers.brought("two", 1.0, 9_000_000, 1.0)

    def fair(one: int, two: int) -> str:
        choice.servers.update_load({"one": Load(one), "two": Load(two)})
        location = choice.servers.location_for(choice.file, choice.task, 0, Counter(), fair=True)
        return location.location.mirror if location is not None else ""

    assert fair(one=7, two=7) == "one"
    assert fair(one=8, two=7) == ""
    choice.servers.known["one"].concurrency = replace(choice.servers.known["one"].concurrency, allowed=9, base=9)
    assert choice.ask() == "one"
    assert fair(one=8, two=8) == "one"


def test_the_suspect_of_a_wrong_digest_is_not_asked() -> None:
    choice = Choice(*ORDERED)
    choice.file.attribution = None
    assert choice.ask() == "one"
    from modelferry.engine.mirrors import CorruptionAttribution

    choice.file.attribution = CorruptionAttribution(("one",), suspect="one", round=frozenset({0}))
    assert choice.ask() == "two"


def test_mirrors_that_nobody_asks_are_probed_once_an_interval() -> None:
    choice = Choice(Mirror("one", 0, probe=10.0), Mirror("two", 1, probe=20.0), Mirror("source", 2))
    choice.servers.running["one"] = 1
    assert choice.servers.probes(10.5) == []
    assert choice.servers.probes(20.5) == ["two"]
    assert choice.servers.probes(30.5) == ["two", "source"]
    choice.servers.quarantine("two", "lied")
    assert choice.servers.probes(30.5) == ["source"]


def test_a_mirror_that_is_alone_is_never_probed() -> None:
    servers = MirrorRegistry.of(16, [Mirror("source", 0)])
    assert servers.probes(1e6) == []
    assert servers.probe_times() == []


def test_a_mirror_whose_streams_all_fall_silent_is_down_where_there_is_another() -> None:
    choice = Choice(*ORDERED)
    choice.servers.running["one"] = 4
    choice.servers.observe(1.0, {"one": 100})
    assert choice.servers.silent(1.0 + SILENCE) == []
    choice.servers.observe(3.0, {"one": 100})
    assert choice.servers.silent(1.1 + SILENCE) == ["one"]
    assert choice.ask() == "two"


@pytest.mark.parametrize("entry", [PINNED, UNPINNED])
def test_one_source_alone_is_asked_whatever_its_breaker_says(entry: FileEntry) -> None:
    alone = FileEntry("a", entry.size, entry.digest, PLACES[:1])
    choice = Choice(entry=alone)
    choice.fail("source", 10)
    assert choice.ask() == "source"
    assert not choice.servers.all_down


def test_there_is_room_while_a_mirror_that_is_at_work_may_have_more() -> None:
    choice = Choice(*ORDERED)
    allowed = choice.servers.known["one"].concurrency.allowed
    choice.servers.running["one"] = allowed
    assert not choice.servers.room
    choice.fail("one")
    assert choice.servers.room
    for name in ("two", "source"):
        choice.fail(name)
    assert choice.servers.room
    choice.servers.running["one"] = 16
    assert not choice.servers.room


def test_a_mirror_with_a_limit_gets_the_streams_that_it_is_enough_for() -> None:
    choice = Choice(Mirror("one", 0), Mirror("two", 1), Mirror("source", 2))
    choice.servers.caps = {"one": MirrorLimit(100_000, 1)}
    assert choice.ask() == "one"
    choice.servers.update_load({"one": Load(1, 0)})
    assert choice.ask() == ""
    choice.servers.caps = {"one": MirrorLimit(100_000, 2)}
    assert choice.ask() == "one"


def test_a_mirror_whose_limit_would_hold_up_the_end_begins_no_chunk() -> None:
    choice = Choice(Mirror("one", 0), Mirror("two", 0), Mirror("source", 1))
    choice.servers.update_load({"two": Load(2, 0)})
    choice.servers.mirror(choice.file.locations[2]).meter = stream_meter().sampled(0.0, 0).sampled(1.0, 10 << 20)
    choice.servers.caps = {"one": MirrorLimit(1000, 1)}
    assert choice.ask() == "two"
    assert choice.ask(waiting=30_000 << 20) == "one"


def test_a_mirror_that_waits_for_its_own_limit_is_not_silent() -> None:
    choice = Choice(*ORDERED)
    choice.servers.update_load({"one": Load(1, 0)})
    choice.servers.caps = {"one": MirrorLimit(1, 1, felt=True)}
    assert choice.servers.silent(SILENCE + 1) == []
    choice.servers.caps = {"one": MirrorLimit(1, 1)}
    assert choice.servers.silent(SILENCE + 1) == ["one"]


def test_a_mirror_that_sends_whole_files_alone_is_passed_over_as_long_as_another_is_well() -> None:
    choice = Choice(*ORDERED)
    choice.file.locations[1].entire = True
    assert choice.ask() == "two"
    choice.fail("two")
    assert choice.ask() == "source"
    choice.fail("source")
    assert not choice.servers.in_parts(choice.file)
    assert choice.ask() == "one"
    assert choice.ask(StreamTask(0, 1 << 20)) == "one"
