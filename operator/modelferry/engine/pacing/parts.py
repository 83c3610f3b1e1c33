"""How much one request asks for. Pure.

On a fast line, a chunk. On a weak one less, down to 1 MiB: so several connections work on one chunk, a lost one costs
little, and a process that is killed leaves few unfinished chunks behind. Towards the end parts become shorter (guided
self-scheduling, Polychronopoulos and Kuck 1987), so that all streams end at about the same time, with no byte asked for
twice.
"""

from __future__ import annotations

from modelferry.engine.download.tasks import RangeTask
from modelferry.engine.pacing.concurrency import ConcurrencyController

#: Bytes of the smallest part, and what parts are a multiple of; and the same at the end, when there is less than that
#: left for each connection.
LEAST, LAST_LEAST = 1 << 20, 1 << 17
#: Seconds that a part takes: long beside the round trip that each request costs. At the end, at least: what streams may
#: end apart. Round trips for the same.
SPAN, LAST_SPAN = 8.0, 0.5
SPAN_RTT, LAST_RTT = 80, 5
#: On a long way, where streams may be slow, the first answers are to tell their rate soon: seconds of round trip, and
#: bytes.
FAR, FIRST = 0.05, 1 << 18


def part_size(concurrency: ConcurrencyController, waiting: int) -> int:
    """Bytes that the next request asks for, with `waiting` bytes not yet asked for: a fair share of them at most."""
    if not concurrency.stream_rate:
        return FIRST if concurrency.rtt > FAR else LEAST
    span = max(SPAN, SPAN_RTT * concurrency.rtt) * concurrency.stream_rate
    last = max(LAST_SPAN, LAST_RTT * concurrency.rtt) * concurrency.stream_rate
    fair = waiting / concurrency.allowed
    size = min(span, max(last, fair))
    least = LAST_LEAST if fair < LEAST else LEAST
    return max(least, int(size) // least * least)


def next_part(concurrency: ConcurrencyController, task: RangeTask, waiting: int) -> tuple[RangeTask, RangeTask | None]:
    """The part of `task` to be asked for now, and the rest to be put back, if any.

    One connection needs no parts. A rest of less than half a part is not worth a request.
    """
    size = part_size(concurrency, waiting + task.size)
    if task.whole or concurrency.most == 1 or task.size < size + size // 2:
        return task, None
    return task.split(task.start + size)
