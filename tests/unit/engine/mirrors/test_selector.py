"""Which mirror gets the next request."""

from __future__ import annotations

from collections import Counter
from dataclasses import replace

import pytest

from modelferry.checkpoint.api import OpenedFile
from modelferry.engine.download.tasks import RangeTask, StreamTask
from modelferry.engine.mirrors import CorruptionAttribution, Mirror, MirrorLimit
from modelferry.engine.pacing import Load, stream_meter
from modelferry.errors import NotFound
from modelferry.http.wire import Origin
from modelferry.manifest import FileEntry
from unit.engine.mirrors.choice import LOCATIONS, ORDERED, WITH_DIGEST, WITHOUT_DIGEST, Choice


def test_the_lowest_priority_is_selected_whatever_the_order_in_the_manifest() -> None:
    assert Choice(*ORDERED).select() == "one"
    assert Choice().select() == "source"


def test_a_task_that_failed_goes_to_another_mirror_once() -> None:
    choice = Choice(*ORDERED)
    assert choice.select(RangeTask.of(choice.file.chunks[0]).after(0)) == "one"
    failed = RangeTask(choice.task.chunk, 0, 10, failures=1, avoid="one")
    assert choice.select(failed) == "two"
    assert choice.select() == "one"


def test_a_location_without_the_file_is_skipped_for_that_file() -> None:
    choice = Choice(*ORDERED)
    choice.file.locations[1].refused = NotFound("gone")
    assert choice.select() == "two"


def test_a_mirror_that_is_down_is_skipped_until_a_probe_succeeds_and_then_gets_one_request() -> None:
    choice = Choice(*ORDERED)
    choice.fail("one")
    assert choice.select() == "two"
    choice.registry.record_probe("one", 5.0, "")
    assert choice.select() == "one"
    choice.run(one=1)
    assert choice.select() == "two"
    choice.deliver("one")
    assert choice.select() == "one"


def test_with_all_down_each_gets_requests_in_turn() -> None:
    choice = Choice(*ORDERED)
    for name in ("one", "two", "source"):
        choice.fail(name)
    assert choice.registry.all_down
    assert choice.select() == "one"
    assert choice.select(RangeTask(choice.task.chunk, 0, 10, failures=1, avoid="one")) == "two"
    assert choice.select(RangeTask(choice.task.chunk, 0, 10, failures=2, avoid="two")) == "one"


def test_a_server_that_asked_for_time_is_not_waited_for_if_there_is_another() -> None:
    choice = Choice(*ORDERED)
    server = choice.file.locations[1].origin
    choice.registry.record_busy("one", server, 0.0, 20.0)
    assert choice.select() == "one", "it is one busy response of a server that has sent good ones"
    choice.registry.record_busy("one", server, 0.0, 20.0)
    assert choice.select() == "two"
    choice.registry.resume_paused(21.0)
    assert choice.select() == "one"


def test_a_new_server_gets_one_request_at_a_time() -> None:
    choice = Choice(*ORDERED)
    choice.registry.reached.clear()
    in_flight = Counter([Origin.of("https://one/a")])
    assert choice.select(in_flight=in_flight) == ""
    assert choice.select() == "one"


def test_without_a_digest_the_bytes_of_two_mirrors_do_not_mix() -> None:
    choice = Choice(*ORDERED, entry=WITHOUT_DIGEST)
    assert choice.select() == "one"
    choice.fail("one", 2)
    assert choice.select(RangeTask(choice.task.chunk, 0, 10, failures=1, avoid="one")) == "one"


def test_without_a_digest_the_mirror_that_began_goes_on() -> None:
    choice = Choice(*ORDERED, entry=WITHOUT_DIGEST, found=OpenedFile(0, False, (), (("two", '"v"'),)))
    assert choice.select() == "two"


def test_without_a_digest_another_mirror_starts_again_at_once_or_after_half_a_minute() -> None:
    choice = Choice(*ORDERED, entry=WITHOUT_DIGEST)
    assert choice.select() == "one"
    choice.fail("one")
    assert choice.switches(1.0)
    begun = Choice(*ORDERED, entry=WITHOUT_DIGEST, found=OpenedFile(0, False, (), (("one", '"v"'),)))
    assert begun.select() == "one"
    begun.fail("one")
    assert not begun.switches(20.0)
    assert begun.switches(31.0)


def test_parts_of_a_chunk_are_from_one_mirror_while_it_is_healthy() -> None:
    choice = Choice(Mirror("one", 0), Mirror("two", 0), Mirror("source", 1))
    choice.begin("two")
    assert choice.select() == "two"
    choice.fail("two")
    assert choice.select() == "one"


def test_a_begun_chunk_gets_no_connection_beyond_a_share_that_a_better_mirror_could_have() -> None:
    choice = Choice(Mirror("one", 0), Mirror("two", 0), Mirror("source", 1))
    choice.begin("one")
    choice.registry.record_throughput("one", 1.0, 300_000, 3.0)
    choice.registry.record_throughput("two", 1.0, 9_000_000, 1.0)

    def fair(one: int, two: int) -> str:
        choice.registry.update_load({"one": Load(one), "two": Load(two)})
        return choice.select(fair=True)

    assert fair(one=7, two=7) == "one"
    assert fair(one=8, two=7) == ""
    choice.registry.states["one"].concurrency = replace(choice.registry.states["one"].concurrency, allowed=9, base=9)
    assert choice.select() == "one"
    assert fair(one=8, two=8) == "one"


def test_the_suspect_of_a_wrong_digest_gets_no_requests() -> None:
    choice = Choice(*ORDERED)
    choice.file.attribution = None
    assert choice.select() == "one"
    choice.file.attribution = CorruptionAttribution(("one",), suspect="one", round=frozenset({0}))
    assert choice.select() == "two"


@pytest.mark.parametrize("entry", [WITH_DIGEST, WITHOUT_DIGEST])
def test_a_single_source_gets_requests_whatever_its_breaker_says(entry: FileEntry) -> None:
    alone = FileEntry("a", entry.size, entry.digest, LOCATIONS[:1])
    choice = Choice(entry=alone)
    choice.fail("source", 10)
    assert choice.select() == "source"
    assert not choice.registry.all_down


def test_there_is_capacity_while_an_active_mirror_may_have_more() -> None:
    choice = Choice(*ORDERED)
    allowed = choice.registry.states["one"].concurrency.allowed
    choice.run(one=allowed)
    assert not choice.registry.selector().has_capacity
    choice.fail("one")
    assert choice.registry.selector().has_capacity
    for name in ("two", "source"):
        choice.fail(name)
    assert choice.registry.selector().has_capacity
    choice.run(one=16)
    assert not choice.registry.selector().has_capacity


def test_a_mirror_with_a_limit_gets_the_streams_that_it_suffices_for() -> None:
    choice = Choice(Mirror("one", 0), Mirror("two", 1), Mirror("source", 2))
    choice.limit(one=MirrorLimit(100_000, 1))
    assert choice.select() == "one"
    choice.registry.update_load({"one": Load(1, 0)})
    assert choice.select() == ""
    choice.limit(one=MirrorLimit(100_000, 2))
    assert choice.select() == "one"


def test_a_mirror_whose_limit_would_delay_the_end_begins_no_chunk() -> None:
    choice = Choice(Mirror("one", 0), Mirror("two", 0), Mirror("source", 1))
    choice.registry.update_load({"two": Load(2, 0)})
    choice.registry.states["two"].meter = stream_meter().sampled(0.0, 0).sampled(1.0, 10 << 20)
    choice.limit(one=MirrorLimit(1000, 1))
    assert choice.select() == "two"
    assert choice.select(waiting=30_000 << 20) == "one"


def test_a_mirror_that_sends_entire_files_only_is_skipped_while_another_is_healthy() -> None:
    choice = Choice(*ORDERED)
    choice.file.locations[1].entire = True
    assert choice.select() == "two"
    choice.fail("two")
    assert choice.select() == "source"
    choice.fail("source")
    assert not choice.registry.selector().can_serve_ranges(choice.file.options)
    assert choice.select() == "one"
    assert choice.select(StreamTask(0, 1 << 20)) == "one"
