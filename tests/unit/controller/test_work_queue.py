"""The work queue, on a clock of its own."""

from __future__ import annotations

import asyncio
import logging
from itertools import pairwise

import pytest

from modelferry.controller.work_queue import Key, Refused, WorkQueue

KEY = ("speech", "chattts")

pytestmark = pytest.mark.looptime


class Work:
    """Records when it ran; returns what the test gives, or raises it."""

    def __init__(self, *answers: float | Exception | None) -> None:
        self.answers = list(answers)
        self.ran: list[float] = []

    async def __call__(self, key: Key) -> float | None:
        self.ran.append(round(asyncio.get_running_loop().time(), 1))
        answer = self.answers.pop(0) if self.answers else 1e6
        if isinstance(answer, Exception):
            raise answer
        return answer


async def test_a_key_runs_immediately_and_again_at_its_requeue_time() -> None:
    work = Work(10.0, 20.0)
    queue = WorkQueue(work)
    queue.add(KEY)
    await asyncio.sleep(50)
    await queue.close()
    assert work.ran == [0.0, 10.2, 30.4]


async def test_many_events_make_few_runs_and_the_last_is_not_lost() -> None:
    work = Work()
    queue = WorkQueue(work)
    for _ in range(20):
        queue.add(KEY)
        await asyncio.sleep(0.01)
    await asyncio.sleep(5)
    await queue.close()
    assert work.ran == [0.0, 0.2]


async def test_an_event_during_a_run_makes_one_more_run() -> None:
    started = asyncio.Event()
    runs = 0

    async def work(key: Key) -> float | None:
        nonlocal runs
        runs += 1
        started.set()
        await asyncio.sleep(3)
        return 1e6

    queue = WorkQueue(work)
    queue.add(KEY)
    await started.wait()
    queue.add(KEY)
    await asyncio.sleep(10)
    await queue.close()
    assert runs == 2


async def test_a_failure_is_retried_with_backoff(caplog: pytest.LogCaptureFixture) -> None:
    work = Work(OSError("refused"), OSError("refused"), OSError("refused"), 1e6)
    queue = WorkQueue(work)
    with caplog.at_level(logging.WARNING):
        queue.add(KEY)
        await asyncio.sleep(100)
    await queue.close()
    assert work.ran == [0.0, 1.2, 3.4, 7.6]
    assert "speech/chattts: OSError: refused; retry in 1 s" in caplog.text


async def test_an_object_that_is_gone_is_dropped_until_its_next_event() -> None:
    work = Work(None, 1e6)
    queue = WorkQueue(work)
    queue.add(KEY)
    await asyncio.sleep(1000)
    assert work.ran == [0.0]
    queue.add(KEY)
    await asyncio.sleep(1)
    await queue.close()
    assert work.ran == [0.0, 1000.0]


def times(work: Work) -> list[float]:
    """Seconds between two runs, without the pause after each."""
    return [round(after - before - 0.2, 1) for before, after in pairwise(work.ran)]


async def test_what_the_api_server_refuses_is_tried_again_within_ten_seconds() -> None:
    work = Work(*[Refused("403: exceeded quota")] * 7, 1e6)
    queue = WorkQueue(work)
    queue.add(KEY)
    await asyncio.sleep(100)
    await queue.close()
    assert times(work) == [1, 2, 4, 8, 8, 8, 8]


async def test_another_failure_waits_up_to_a_minute() -> None:
    work = Work(*[OSError("refused")] * 8, 1e6)
    queue = WorkQueue(work)
    queue.add(KEY)
    await asyncio.sleep(300)
    await queue.close()
    assert times(work) == [1, 2, 4, 8, 16, 32, 60, 60]


async def test_a_thousand_refused_artifacts_make_at_most_ten_reconciliations_per_second() -> None:
    loop, ran = asyncio.get_running_loop(), []

    async def work(key: Key) -> float | None:
        ran.append(loop.time())
        raise Refused("403: exceeded quota")

    queue = WorkQueue(work)
    for number in range(1000):
        queue.add(("speech", str(number)))
    await asyncio.sleep(900)
    await queue.close()
    assert len([at for at in ran if at >= 600]) <= 3000
    assert len({at for at in ran if at >= 600}) > 0


async def test_reconciliations_that_take_long_are_further_apart() -> None:
    loop, ran = asyncio.get_running_loop(), []

    async def work(key: Key) -> float | None:
        ran.append(loop.time())
        await asyncio.sleep(1.0)
        return 1e6

    queue = WorkQueue(work)
    for _ in range(95):
        queue.add(KEY)
        await asyncio.sleep(0.1)
    await queue.close()
    assert [round(at, 1) for at in ran] == [0.0, 2.0, 4.0, 6.0, 8.0]
