"""When a request is tried again, and when its source is given up. On a clock of its own."""

from __future__ import annotations

from collections.abc import Awaitable, Callable

import pytest

from modelferry.errors import ConnectionFailed, NotFound, ServerBusy, SourceUnavailable, Transient, UnknownHost
from modelferry.http.backoff import backoff
from modelferry.sources.retry import LONGEST_DELAY, Retry


class World:
    """A clock that sleeping moves, and a server that fails as often as it is told."""

    def __init__(self) -> None:
        self.now = 0.0
        self.slept: list[float] = []
        self.tries = 0

    def retry(self, budget: float) -> Retry:
        return Retry(budget, clock=lambda: self.now, sleep=self.sleep, chance=lambda: 1.0)

    async def sleep(self, seconds: float) -> None:
        self.slept.append(seconds)
        self.now += seconds

    def failing(self, times: float, error: Exception) -> Callable[[], Awaitable[str]]:
        start = self.tries

        async def attempt() -> str:
            self.tries += 1
            if self.tries - start <= times:
                raise error
            return "whole"

        return attempt


BUSY = ServerBusy("a: 503", file="a")
ALWAYS = float("inf")


async def test_a_transient_fault_is_tried_again_after_pauses_that_double() -> None:
    world = World()
    assert await world.retry(60).run(world.failing(6, BUSY)) == "whole"
    assert world.slept == [0.5, 1, 2, 4, 8, 8]


async def test_a_source_that_stays_down_is_given_up_when_its_budget_is_spent() -> None:
    world = World()
    with pytest.raises(SourceUnavailable, match=r"a: 503; tried 6 times\. Check the server") as caught:
        await world.retry(20).run(world.failing(ALWAYS, BUSY))
    assert world.now <= 20
    assert caught.value.file == "a"


async def test_a_source_that_was_given_up_is_not_asked_for_its_other_files() -> None:
    world = World()
    retry = world.retry(5)
    with pytest.raises(SourceUnavailable):
        await retry.run(world.failing(ALWAYS, BUSY))
    tries = world.tries
    with pytest.raises(SourceUnavailable, match="given up before"):
        await retry.run(world.failing(0, BUSY))
    assert world.tries == tries


async def test_a_success_renews_the_budget() -> None:
    world = World()
    retry = world.retry(10)
    for _ in range(5):
        assert await retry.run(world.failing(3, BUSY)) == "whole"
    assert world.now > 10


async def test_a_fault_that_no_retry_helps_is_raised_at_once_and_ends_all_waiting() -> None:
    world = World()
    retry = world.retry(60)
    with pytest.raises(NotFound):
        await retry.run(world.failing(ALWAYS, NotFound("b: 404")))
    with pytest.raises(SourceUnavailable, match="tried once"):
        await retry.run(world.failing(ALWAYS, BUSY))
    assert world.slept == []


async def test_a_name_that_nobody_resolves_in_time_is_an_unknown_host() -> None:
    world = World()
    with pytest.raises(UnknownHost):
        await world.retry(5).run(world.failing(ALWAYS, ConnectionFailed("a: no answer", persistent_error=UnknownHost)))


async def test_the_server_is_given_the_time_that_it_asked_for() -> None:
    world = World()
    busy: Transient = ServerBusy("a: 429", retry_after=25.0)
    assert await world.retry(60).run(world.failing(1, busy)) == "whole"
    assert world.slept == [25.0]


@pytest.mark.parametrize("failures", [1, 2, 5, 10_000])
def test_a_pause_is_spread_so_that_many_pods_do_not_come_back_at_once(failures: int) -> None:
    shortest, longest = (backoff(failures, random, LONGEST_DELAY) for random in (0.0, 1.0))
    assert 0 < shortest == longest / 2 <= 4


async def test_a_server_that_says_when_to_come_back_is_believed_beyond_the_budget() -> None:
    world = World()
    assert await world.retry(60).run(world.failing(3, ServerBusy("a: 429", retry_after=280.0))) == "whole"
    assert world.slept == [280.0] * 3


async def test_one_that_says_so_again_and_again_is_given_up_after_a_quarter_of_an_hour() -> None:
    world = World()
    with pytest.raises(SourceUnavailable, match="a: 429; tried 4 times"):
        await world.retry(60).run(world.failing(ALWAYS, ServerBusy("a: 429", retry_after=290.0)))
    assert world.now == 870


async def test_an_absurd_delay_is_not_believed_at_once() -> None:
    world = World()
    assert await world.retry(60).run(world.failing(3, ServerBusy("a: 429", retry_after=300.0))) == "whole"
    assert world.slept == [2.0, 4.0, 8.0]


async def test_a_server_that_always_asks_for_an_absurd_delay_is_given_up() -> None:
    world = World()
    with pytest.raises(SourceUnavailable, match="a: 429; tried"):
        await world.retry(60).run(world.failing(ALWAYS, ServerBusy("a: 429", retry_after=300.0)))
    assert world.tries <= 12
    assert world.now <= 960


async def test_what_one_busy_answer_asked_for_is_no_time_for_faults_that_follow() -> None:
    world = World()
    retry = world.retry(60)
    await retry.run(world.failing(1, ServerBusy("a: 429", retry_after=200.0)))
    with pytest.raises(SourceUnavailable):
        await retry.run(world.failing(ALWAYS, ConnectionFailed("a: refused")))
    assert 200 < world.now <= 260
