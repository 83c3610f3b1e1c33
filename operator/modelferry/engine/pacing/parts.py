"""How many bytes one request asks for. Pure.

On a fast network path, a chunk. On a slow one less, down to 1 MiB: then several connections work on one chunk, an
attempt that fails loses little, and a process that is killed leaves few unfinished chunks. Towards the end parts become
shorter (guided self-scheduling, Polychronopoulos and Kuck 1987), so that all streams end at about the same time and no
byte is requested twice.
"""

from __future__ import annotations

from modelferry.engine.pacing.concurrency import ConcurrencyController

#: Bytes of the smallest part, of which parts are a multiple; and the same at the end, when less than that is left for
#: each connection.
MIN_PART, MIN_LAST_PART = 1 << 20, 1 << 17
#: Seconds that a part takes: long compared with the round trip that each request costs. At the end, the least: how far
#: apart streams may end.
PART_SECONDS, LAST_PART_SECONDS = 8.0, 0.5
#: The same in round trips; the longer of both counts.
PART_RTTS, LAST_PART_RTTS = 80, 5
#: With a long round trip, where streams may be slow, the first parts are short, to measure the rate soon: seconds of
#: round trip, and bytes.
LONG_RTT, FIRST_PART = 0.05, 1 << 18


def part_size(concurrency: ConcurrencyController, waiting: int) -> int:
    """Bytes that the next request asks for, if `waiting` bytes are not yet requested: a fair share of them at most."""
    if not concurrency.stream_rate:
        return FIRST_PART if concurrency.rtt > LONG_RTT else MIN_PART
    usual = max(PART_SECONDS, PART_RTTS * concurrency.rtt) * concurrency.stream_rate
    last = max(LAST_PART_SECONDS, LAST_PART_RTTS * concurrency.rtt) * concurrency.stream_rate
    fair_share = waiting / concurrency.allowed
    size = min(usual, max(last, fair_share))
    least = MIN_LAST_PART if fair_share < MIN_PART else MIN_PART
    return max(least, int(size) // least * least)


def next_part_size(concurrency: ConcurrencyController, size: int, waiting: int) -> int:
    """Bytes to request now of a range of `size` bytes, with `waiting` bytes after it that are not yet requested.

    One connection needs no parts. A rest of less than half a part is not worth a request.
    """
    part = part_size(concurrency, waiting + size)
    return size if concurrency.most == 1 or size < part + part // 2 else part
