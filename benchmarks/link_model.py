"""One direction of an emulated network path: a queue with a rate, a delay and packet loss.

Pure: the clock and the random numbers are arguments.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterator
from dataclasses import dataclass

#: Bytes of an IP packet (the usual MTU), and of content in it: without IPv4 20, TCP 20 and TCP timestamps 12.
PACKET, CONTENT = 1500, 1448
#: A packet with its Ethernet header, which a traffic shaper on an Ethernet device counts too.
FRAME = PACKET + 14


@dataclass(slots=True)
class LinkStats:
    """``packets`` and ``bytes`` that were accepted; packets ``lost`` at random; packets ``dropped`` by a full queue."""

    packets: int = 0
    bytes: int = 0
    lost: int = 0
    dropped: int = 0


class SimplexLink:
    """Delivers each packet `delay` seconds after it was serialized at `rate` bytes per second (0: no limit).

    A packet is lost with probability `loss`; `random` returns numbers in [0, 1). A packet is dropped when more than
    `limit` bytes wait in the queue.
    """

    def __init__(self, *, rate: float, delay: float, loss: float, limit: int, random: Callable[[], float]) -> None:
        self._rate, self._delay, self._loss, self._limit = rate, delay, loss, limit
        self._random = random
        self._queue: deque[tuple[float, bytes]] = deque()
        self._idle_from = 0.0
        self.stats = LinkStats()

    def send(self, packet: bytes, now: float) -> None:
        """Accept `packet` at the clock reading `now` (seconds), or drop it."""
        start = max(now, self._idle_from)
        if self._rate and (start - now) * self._rate > self._limit:
            self.stats.dropped += 1
            return
        if self._loss and self._random() < self._loss:
            self.stats.lost += 1
            return
        self._idle_from = start + (len(packet) / self._rate if self._rate else 0.0)
        self._queue.append((self._idle_from + self._delay, packet))
        self.stats.packets += 1
        self.stats.bytes += len(packet)

    def delivered(self, now: float) -> Iterator[bytes]:
        """Remove and return the packets that arrive until `now`."""
        while self._queue and self._queue[0][0] <= now:
            yield self._queue.popleft()[1]

    @property
    def next_delivery(self) -> float | None:
        """When the next packet arrives; None if the queue is empty."""
        return self._queue[0][0] if self._queue else None
