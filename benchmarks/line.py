"""One way of an emulated line: a queue with a rate, a delay and losses. Pure: the clock and chance are arguments."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterator
from dataclasses import dataclass

#: Bytes of an IP packet on a usual line, and of content in it: IPv4 20, TCP 20, its timestamps 12.
PACKET, CONTENT = 1500, 1448
#: The same with Ethernet's header, which a shaper on an Ethernet device counts as well.
FRAME = PACKET + 14


@dataclass(slots=True)
class Count:
    """What went into a direction: ``packets`` and ``bytes`` that it took, ``lost`` by chance, ``overflowed`` the
    queue."""

    packets: int = 0
    bytes: int = 0
    lost: int = 0
    overflowed: int = 0


class Direction:
    """Packets leave `delay` seconds after the line of `rate` bytes a second (0: no limit) has let them pass.

    A packet is lost with probability `loss`, for which `chance` gives numbers in [0, 1); or where more than `limit`
    bytes wait already.
    """

    def __init__(self, *, rate: float, delay: float, loss: float, limit: int, chance: Callable[[], float]) -> None:
        self._rate, self._delay, self._loss, self._limit = rate, delay, loss, limit
        self._chance = chance
        self._queue: deque[tuple[float, bytes]] = deque()
        self._free_at = 0.0
        self.count = Count()

    def offer(self, packet: bytes, now: float) -> None:
        """`packet` comes in at clock reading `now` (seconds)."""
        begins = max(now, self._free_at)
        if self._rate and (begins - now) * self._rate > self._limit:
            self.count.overflowed += 1
            return
        if self._loss and self._chance() < self._loss:
            self.count.lost += 1
            return
        self._free_at = begins + (len(packet) / self._rate if self._rate else 0.0)
        self._queue.append((self._free_at + self._delay, packet))
        self.count.packets += 1
        self.count.bytes += len(packet)

    def due(self, now: float) -> Iterator[bytes]:
        """The packets that come out by `now`."""
        while self._queue and self._queue[0][0] <= now:
            yield self._queue.popleft()[1]

    @property
    def next_due(self) -> float | None:
        """When the next packet comes out; None where none is on its way."""
        return self._queue[0][0] if self._queue else None
