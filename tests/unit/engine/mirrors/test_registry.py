"""What the registry of mirrors makes of observations."""

from __future__ import annotations

from modelferry.engine.download.tasks import RangeTask
from modelferry.engine.mirrors import Mirror, MirrorLimit, MirrorRegistry
from modelferry.engine.mirrors.registry import SILENCE
from modelferry.engine.pacing import Load
from unit.engine.mirrors.choice import ORDERED, Choice


def test_the_source_is_the_last_resort_and_falling_back_to_it_is_counted_once() -> None:
    choice = Choice(*ORDERED)
    choice.fail("one")
    choice.fail("two")
    choice.fail("one", 1)
    choice.deliver("two")
    assert choice.select(RangeTask(choice.task.chunk, 0, 10, failures=1, avoid="two")) == "source"
    choice.fail("two", 1)
    assert choice.select() == "source"
    assert {m.name: m.fallbacks for m in choice.registry.progress()} == {"one": 0, "two": 1, "source": 1}
    choice.registry.record_probe("one", 5.0, "")
    choice.deliver("one")
    choice.fail("one")
    assert {m.name: m.fallbacks for m in choice.registry.progress()} == {"one": 0, "two": 1, "source": 2}


def test_a_mirror_is_untried_until_a_request_or_a_probe_succeeds() -> None:
    choice = Choice(*ORDERED)

    def untried() -> set[str]:
        return {mirror.name for mirror in choice.registry.progress() if mirror.untried}

    assert untried() == {"one", "two", "source"}
    choice.fail("one", 1)
    choice.registry.record_probe("two", 5.0, "")
    choice.registry.record_response("source", choice.file.locations[0].origin, 5.0, 0.1)
    assert untried() == {"one"}
    choice.fail("one", 2)
    assert untried() == set(), "it is known to be down"


def test_mirrors_without_requests_are_probed_once_an_interval() -> None:
    choice = Choice(Mirror("one", 0, probe_interval=10.0), Mirror("two", 1, probe_interval=20.0), Mirror("source", 2))
    choice.run(one=1)
    assert choice.registry.due_probes(10.5) == []
    assert choice.registry.due_probes(20.5) == ["two"]
    assert choice.registry.due_probes(30.5) == ["two", "source"]
    choice.registry.quarantine("two", "served corrupt data")
    assert choice.registry.due_probes(30.5) == ["source"]


def test_a_single_mirror_is_never_probed() -> None:
    registry = MirrorRegistry.of(16, [Mirror("source", 0)])
    assert registry.due_probes(1e6) == []
    assert registry.probe_times() == []


def test_a_mirror_whose_streams_all_stall_is_down_if_there_is_another() -> None:
    choice = Choice(*ORDERED)
    choice.run(one=4)
    choice.registry.observe(1.0, {"one": 100})
    assert choice.registry.trip_silent(1.0 + SILENCE) == []
    choice.registry.observe(3.0, {"one": 100})
    assert choice.registry.trip_silent(1.1 + SILENCE) == ["one"]
    assert choice.select() == "two"


def test_a_mirror_that_waits_for_its_own_limit_is_not_silent() -> None:
    choice = Choice(*ORDERED)
    choice.registry.update_load({"one": Load(1, 0)})
    choice.limit(one=MirrorLimit(1, 1, is_limiting=True))
    assert choice.registry.trip_silent(SILENCE + 1) == []
    choice.limit(one=MirrorLimit(1, 1))
    assert choice.registry.trip_silent(SILENCE + 1) == ["one"]
