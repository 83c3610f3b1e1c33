"""The throttle, on a clock of its own: payers in turn, and limits that change under them."""

from __future__ import annotations

import asyncio

import pytest

from modelferry.http.transport.throttle import Throttle

pytestmark = pytest.mark.looptime


def now() -> float:
    return asyncio.get_running_loop().time()


def limited(rate: int | None, connections: int = 16) -> Throttle:
    throttle = Throttle(connections, now)
    throttle.set(rate)
    return throttle


async def test_without_a_limit_nobody_waits() -> None:
    assert await limited(None).acquire(10**9) == 10**9
    assert now() == 0


async def test_a_payment_takes_its_time() -> None:
    assert await limited(1000).acquire(3000) == 3000
    assert now() == pytest.approx(3.0, rel=0.02)


async def test_a_payment_waits_for_a_part_of_it_and_not_for_each_byte() -> None:
    looks = 0

    def clock() -> float:
        """It goes on while it is looked at, as under a processor at work: so there is always another byte to take."""
        nonlocal looks
        looks += 1
        return now() + looks * 1e-5

    throttle = Throttle(16, clock)
    throttle.set(100_000)
    await throttle.acquire(100_000)
    assert looks < 1000


async def test_who_owes_nothing_pays_nothing() -> None:
    assert await limited(1000).acquire(-5) == 0
    assert now() == 0


async def test_payers_get_the_same() -> None:
    throttle, paid = limited(1000), [0, 0, 0]

    async def stream(number: int) -> None:
        while True:
            paid[number] += await throttle.acquire(10)

    streams = [asyncio.create_task(stream(number)) for number in range(3)]
    await asyncio.sleep(10)
    for task in streams:
        task.cancel()
    assert sum(paid) == pytest.approx(10_000, rel=0.02)
    assert max(paid) - min(paid) <= 20


async def test_a_raised_limit_reaches_who_waits_already() -> None:
    throttle = limited(10)
    payment = asyncio.create_task(throttle.acquire(10_000))
    await asyncio.sleep(1)
    throttle.set(10_000)
    await payment
    assert now() == pytest.approx(2.0, rel=0.02)


async def test_a_pause_holds_until_it_is_over() -> None:
    throttle = limited(0)
    assert throttle.paused
    payment = asyncio.create_task(throttle.acquire(100))
    await asyncio.sleep(3600)
    assert not payment.done()
    throttle.set(None)
    assert await payment == 100
    assert now() == 3600


async def test_one_who_leaves_the_line_lets_the_next_one_pay() -> None:
    throttle = limited(100)
    first = asyncio.create_task(throttle.acquire(1000))
    second = asyncio.create_task(throttle.acquire(100))
    await asyncio.sleep(1)
    first.cancel()
    await second
    assert now() == pytest.approx(2.0, rel=0.05)


async def test_the_limit_is_felt_while_somebody_waits_for_it() -> None:
    throttle = limited(1000)
    assert not throttle.is_bottleneck
    await throttle.acquire(1000)
    assert throttle.is_bottleneck
    await asyncio.sleep(2)
    assert not throttle.is_bottleneck


def test_a_small_limit_is_for_few_connections() -> None:
    counts = {rate: limited_streams(rate) for rate in (None, 0, 125, 32_000, 250_000, 5_000_000)}
    assert counts == {None: 16, 0: 0, 125: 1, 32_000: 1, 250_000: 1, 5_000_000: 9}


def limited_streams(rate: int | None) -> int:
    return limited_throttle(rate).max_streams


def limited_throttle(rate: int | None) -> Throttle:
    throttle = Throttle(16, lambda: 0.0)
    throttle.set(rate)
    return throttle


def test_room_grows_with_the_round_trip_so_that_the_window_does_not_bound_the_rate() -> None:
    throttle = Throttle(8, lambda: 0.0)
    throttle.set(5_000_000)
    near = throttle.receive_window
    throttle.observe_round_trip(0.24)
    far = throttle.receive_window
    assert near is not None
    assert far is not None
    assert far.socket_buffer * 8 >= 5_000_000 * 0.24
    assert not near.fits(far)
    assert not near.fits(None)
    assert near.fits(near)
    assert 2 * near.socket_buffer <= near.size


@pytest.mark.parametrize("rate", [32_000, 37_500, 625_000, 5_000_000, 125_000_000])
def test_what_may_be_under_way_is_less_than_a_tenth_of_a_second(rate: int) -> None:
    throttle = limited_throttle(rate)
    room = throttle.receive_window
    assert room is not None
    # A server that stopped for a moment may send that at once; of small limits it is the least window.
    assert room.size * throttle.max_streams <= max(0.1 * rate, 4096)
    assert 512 <= throttle.read_size <= room.size // 4


@pytest.mark.parametrize(("whole_rate", "rate"), [(4000, 1000), (1000, 4000), (1000, 1000)])
async def test_a_single_stream_gets_the_smaller_of_both_limits(whole_rate: int, rate: int) -> None:
    whole = limited(whole_rate)
    whole.set_mirrors({"m": rate})
    assert await whole.for_mirror("m").acquire(5000) == 5000
    assert now() == pytest.approx(5.0, rel=0.02)


async def test_two_mirrors_never_bring_more_than_the_download_may_have() -> None:
    whole, paid = limited(1500), {"one": 0, "two": 0, "free": 0}
    whole.set_mirrors({"one": 100, "two": 1000})

    async def stream(mirror: str) -> None:
        while True:
            given = await whole.for_mirror(mirror).acquire(10)
            paid[mirror] += given

    streams = [asyncio.create_task(stream(mirror)) for mirror in paid]
    await asyncio.sleep(10)
    for task in streams:
        task.cancel()
    assert sum(paid.values()) == pytest.approx(15_000, rel=0.02)
    assert paid["one"] == pytest.approx(1000, rel=0.1)
    assert paid["two"] <= 10_000 * 1.02


async def test_a_mirror_that_waits_for_its_own_limit_keeps_the_others_from_nothing() -> None:
    whole = limited(1000)
    whole.set_mirrors({"slow": 1})
    waiting = asyncio.create_task(whole.for_mirror("slow").acquire(100))
    await asyncio.sleep(1)
    before = now()
    await whole.for_mirror("other").acquire(2000)
    assert now() - before == pytest.approx(2.0, rel=0.1)
    waiting.cancel()


async def test_a_mirror_that_is_not_in_the_list_any_more_has_no_limit() -> None:
    whole = limited(None)
    whole.set_mirrors({"slow": 1})
    payment = asyncio.create_task(whole.for_mirror("slow").acquire(1000))
    await asyncio.sleep(1)
    whole.set_mirrors({})
    await payment
    assert now() == pytest.approx(1.0)


def test_a_connection_is_built_for_the_smaller_of_both_limits() -> None:
    whole = Throttle(16, lambda: 0.0)
    whole.set(100_000_000)
    assert whole.for_mirror("m").receive_window == whole.receive_window
    whole.set_mirrors({"m": 1_000_000})
    room = whole.for_mirror("m").receive_window
    assert room is not None
    assert whole.receive_window is not None
    assert room.size < whole.receive_window.size
    whole.set(None)
    assert whole.for_mirror("m").receive_window == room
    assert whole.for_mirror("other").receive_window is None
