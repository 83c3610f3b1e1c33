"""How many bytes one request asks for."""

from __future__ import annotations

import pytest

from modelferry.engine.download.tasks import RangeTask, next_part
from modelferry.engine.pacing import ConcurrencyController
from modelferry.manifest import Chunk
from unit.engine.pacing.measured import MIB, measured_controller


def chunk(index: int = 0) -> Chunk:
    return Chunk(0, index, index * 16 * MIB, (index + 1) * 16 * MIB)


def test_before_anything_is_known_a_part_is_small() -> None:
    part, rest = next_part(ConcurrencyController.start(16), RangeTask.of(chunk()), 100 * MIB)
    assert rest is not None
    assert (part.start, part.end, rest.start, rest.end) == (0, MIB, MIB, 16 * MIB)


@pytest.mark.parametrize(("rate", "size"), [(1e4, MIB), (0.5 * MIB, 4 * MIB), (1.4 * MIB, 16 * MIB), (1e9, 16 * MIB)])
def test_a_part_is_what_a_stream_transfers_in_some_seconds(rate: float, size: int) -> None:
    assert next_part(measured_controller(rate), RangeTask.of(chunk()), 1 << 40)[0].size == size


def test_with_a_long_round_trip_the_first_parts_are_shorter_until_the_rate_is_known() -> None:
    far = ConcurrencyController.start(64).record_round_trip(0.18)
    assert next_part(far, RangeTask.of(chunk()), 1 << 40)[0].size == MIB // 4
    assert next_part(far.record_throughput(0.0, MIB // 4, 0.9), RangeTask.of(chunk()), 1 << 40)[0].size > MIB // 4


def test_at_the_end_on_a_slow_path_parts_are_less_than_a_mebibyte() -> None:
    slow = measured_controller(3e5, rtt=0.18)
    assert next_part(slow, RangeTask(chunk(), 0, MIB), 32 * MIB)[0].size == MIB
    assert next_part(slow, RangeTask(chunk(), 0, MIB), 2 * MIB)[0].size == 3 * MIB // 8


def test_where_round_trips_are_long_parts_are_longer() -> None:
    assert next_part(measured_controller(0.5 * MIB, rtt=0.2), RangeTask.of(chunk()), 1 << 40)[0].size == 8 * MIB


def test_towards_the_end_parts_become_shorter_unless_they_are_short_in_time() -> None:
    assert next_part(measured_controller(4 * MIB), RangeTask.of(chunk()), 48 * MIB)[0].size == 8 * MIB
    assert next_part(measured_controller(4 * MIB), RangeTask.of(chunk()), 0)[0].size == 2 * MIB
    assert next_part(measured_controller(100 * MIB), RangeTask.of(chunk()), 0)[0].size == 2 * MIB


def test_what_needs_one_response_is_not_divided() -> None:
    for concurrency, task in [
        (ConcurrencyController.start(16), RangeTask.again(chunk())),
        (ConcurrencyController.start(16), RangeTask.of(chunk(), reopen=True)),
        (ConcurrencyController.start(1), RangeTask.of(chunk())),
        (ConcurrencyController.start(16), RangeTask.of(Chunk(0, 0, 0, MIB + 100))),
    ]:
        assert next_part(concurrency, task, 1 << 40) == (task, None)
