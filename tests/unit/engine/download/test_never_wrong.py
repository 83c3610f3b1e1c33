"""Whatever fails, whenever it fails: the right bytes or a clear error, and no chunk marked done that is not there.

The number of examples and kills is for every run of the suite; CONTRIBUTING.md tells how to ask for more.
"""

from __future__ import annotations

import os
import tempfile
import time
from collections.abc import Callable, Iterator
from dataclasses import replace
from itertools import count
from pathlib import Path
from random import Random

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from origin.rules import Rule
from unit.engine.download.lives import CHUNK, CONTENTS, Life, Story
from unit.storage.faulty_disk import FAULT_KINDS, Fault

#: Kills, and sequences of lives, beyond those that are part of the suite.
MORE = int(os.environ.get("MODELFERRY_KILLS", "0"))
#: A file system in memory: the edge knows what is durable, the real disk need not.
MEMORY = "/dev/shm" if Path("/dev/shm").is_dir() else None

FILE = "a/file"
SIZE = len(CONTENTS["a"])


@pytest.fixture(autouse=True)
def small_chunks(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("modelferry.manifest.chunks.CHUNK_SIZE", CHUNK)


#: Makes a story in a directory of its own.
Stories = Callable[..., Story]


@pytest.fixture
def story(monkeypatch: pytest.MonkeyPatch) -> Iterator[Stories]:
    with tempfile.TemporaryDirectory(dir=MEMORY) as directory:
        numbers = count()

        def make(algorithm: str | None = "sha256") -> Story:
            target = Path(directory) / str(next(numbers))
            target.mkdir()
            return Story(target, monkeypatch, algorithm)

        yield make


def ends_well(story: Story) -> None:
    """With all faults gone, the next process brings it to its end."""
    assert story.live(Life()) == "whole"
    assert story.whole


#: What a download may be like, so that other calls are made than by one that has no trouble: the lives before the one
#: that is killed, that one, and the digest that is declared.
KINDS_OF_DOWNLOAD: dict[str, tuple[tuple[Life, ...], Life, str | None]] = {
    "fresh": ((), Life(), "sha256"),
    "resumed": ((Life(faults=(Fault(36, "kill"),)),), Life(), "sha256"),
    "after a power cut": ((Life(faults=(Fault(45, "kill"),), power=1),), Life(), "sha256"),
    "wrong bytes on the way": ((), Life(script={1: Rule(corrupt=CHUNK + 5)}), "md5"),
    "wrong bytes, told by Content-Digest": ((), Life(script={1: Rule(corrupt=CHUNK + 5)}, digest=True), "sha256"),
    "another version on the way": ((), Life(script={3: Rule(etag='"v2"')}), None),
    "one stream": ((), Life(script={n: Rule(etag="", cut=9000) for n in range(2)}), None),
    "published, and damaged by a boot": ((Life(), Life(power=1)), Life(reboots=True), "sha256"),
}


def begun(make: Stories, name: str) -> tuple[Story, Life]:
    """A directory after the first lives, and the life that is to come."""
    before, life, algorithm = KINDS_OF_DOWNLOAD[name]
    story = make(algorithm)
    for one in before:
        story.live(one)
    if name.startswith("published"):
        story.damage(FILE)
    return story, life


def test_without_faults_all_is_well(story: Stories) -> None:
    one = story()
    assert one.live(Life()) == "whole"
    assert one.whole


#: Those in which every call is the last one once.
WHOLE = ("fresh", "published, and damaged by a boot")
FULL = Fault(0, "ENOSPC", lasting=True)


@pytest.mark.parametrize(
    ("name", "fault"),
    [
        *((name, Fault(0, kind)) for name in KINDS_OF_DOWNLOAD for kind in ("kill", "torn", "EIO")),
        *(
            (name, fault)
            for name in ("fresh", "published, and damaged by a boot")
            for fault in (Fault(0, "short"), FULL)
        ),
    ],
    ids=lambda value: value.kind if isinstance(value, Fault) else value,
)
def test_each_call_to_the_disk_may_be_the_last_or_fail(story: Stories, name: str, fault: Fault) -> None:
    honest, life = begun(story, name)
    assert honest.live(life) == "whole"
    calls = honest.edge.log
    reached = 0
    # In the suite, of downloads that are mostly like others every third call.
    stride = 1 if MORE or name in WHOLE else 3
    for number, call in enumerate(calls, 1):
        if call != "pwrite" if fault.kind in ("torn", "short") else number % stride:
            continue
        one, life = begun(story, name)
        power = number if number % 2 and fault.kind in ("kill", "torn") else None
        how = one.live(replace(life, faults=(replace(fault, call=number),), power=power))
        assert (how == "killed") == (fault.kind in ("kill", "torn")), f"{call}, number {number}: {how}"
        assert how != "whole" or one.whole
        if fault.kind == "kill":
            # What the dead left undone shows in the middle of the next life.
            one.live(Life(faults=(Fault(len(calls) // 2, "kill"),)))
        ends_well(one)
        reached += 1
    assert reached >= 1 + (fault.kind == "kill") * 15


def test_a_clock_that_jumps_by_days_costs_nothing(story: Stories, monkeypatch: pytest.MonkeyPatch) -> None:
    days = count(start=-400, step=37)
    monkeypatch.setattr(time, "time", lambda: 1.8e9 + (next(days) * 7919 % 1000 - 500) * 86400.0)
    one = story()
    how = one.live(Life(script={1: Rule(cut=100), 3: Rule(status=503, retry_after="7"), 4: Rule(stall=10)}))
    assert (how, one.whole) == ("whole", True)


@pytest.mark.parametrize("name", WHOLE)
def test_a_call_that_failed_once_does_not_hold_up_the_next_fetch_beside_the_same_checkpoint(
    story: Stories, name: str
) -> None:
    honest, life = begun(story, name)
    honest.live(life)
    for number, call in [*enumerate(honest.edge.log, 1)][:: 1 if MORE else 2]:
        one, life = begun(story, name)
        how = one.live(replace(life, faults=(Fault(number, "EIO"),), again=True))
        assert (how, one.whole) == ("whole", True), f"{call}, number {number}: {how}"


@pytest.mark.skipif(not MORE, reason="MODELFERRY_KILLS=N for N kills at random places")
def test_kills_without_end(story: Stories) -> None:
    random, killed = Random(1), 0
    while killed < MORE:
        one, life = begun(story, random.choice(list(KINDS_OF_DOWNLOAD)))
        for _ in range(random.randint(1, 6)):
            fault = Fault(random.randint(1, 90), random.choice(("kill", "torn")))
            killed += one.live(replace(life, faults=(fault,), power=random.choice((None, killed)))) == "killed"
        ends_well(one)


# Any sequence of lives.

RULES = st.one_of(
    st.builds(Rule, cut=st.integers(0, CHUNK), chunked=st.booleans()),
    st.builds(Rule, cut=st.integers(0, CHUNK), close_delimited=st.just(True)),
    st.builds(Rule, reset=st.integers(0, CHUNK)),
    st.builds(Rule, stall=st.integers(0, CHUNK)),
    st.builds(Rule, delay=st.sampled_from((1.0, 60.0))),
    st.builds(Rule, ignore_range=st.just(True), cut=st.none() | st.integers(0, SIZE)),
    st.builds(Rule, corrupt=st.integers(0, SIZE - 1)),
    st.builds(Rule, shorten=st.integers(1, CHUNK)),
    st.builds(Rule, surplus=st.integers(1, 100), chunked=st.booleans()),
    st.builds(Rule, extra=st.integers(1, 100)),
    st.builds(Rule, status=st.sampled_from((204, 304, 401, 403, 404, 408, 412, 416, 421, 429, 500, 503))),
    st.builds(Rule, etag=st.sampled_from(("", '"v2"', 'W/"v"'))),
    st.builds(Rule, content_range=st.sampled_from(("", "bytes 1-{last}/{size}", "bytes {first}-{last}/*", "junk"))),
    st.builds(Rule, encoding=st.just("gzip")),
    st.builds(
        Rule, raw=st.sampled_from(("HTTP/1.1 206 OK\r\nContent-Length: 1\r\nContent-Length: 2\r\n\r\nx", "SSH", ""))
    ),
)
FAULTS = st.builds(Fault, st.integers(1, 90), st.sampled_from(FAULT_KINDS), st.just(False))
LIVES = st.builds(
    Life,
    script=st.dictionaries(st.integers(0, 20), RULES, max_size=6),
    faults=st.lists(FAULTS, max_size=3).map(tuple),
    reboots=st.booleans(),
    power=st.none() | st.integers(0, 99),
    digest=st.booleans(),
    connections=st.integers(1, 4),
)


@settings(
    max_examples=max(100, MORE),
    derandomize=not MORE,
    database=None,
    deadline=None,
    suppress_health_check=[HealthCheck.function_scoped_fixture],
)
@given(lives=st.lists(LIVES, min_size=1, max_size=4), algorithm=st.sampled_from(("sha256", "md5", None)))
def test_any_sequence_of_faults_kills_and_restarts_ends_in_the_right_bytes(
    story: Stories, lives: list[Life], algorithm: str | None
) -> None:
    one = story(algorithm)
    for life in lives:
        how = one.live(life)
        assert how != "whole" or one.whole or algorithm is None
    if algorithm is not None:
        ends_well(one)
