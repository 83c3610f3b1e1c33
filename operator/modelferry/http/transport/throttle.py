"""A limit on what all connections of a download may receive together, and those to one mirror, changed while it runs.

A byte is paid for before it can arrive: a request pays for what the kernel may hold unread, and every further read from
the socket for what it makes room for. So what has arrived never exceeds what the bucket gave, not at the start either,
and the server sees the limit as it would see a line of that rate. It is the socket that is read bit by bit, not what
TLS makes of it: a record of 16 KiB is half a second's bytes of a small limit.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass

from modelferry.http.transport.token_bucket import TokenBucket

#: Bytes per second that a stream gets at least, by there being fewer of them: a server sees it move.
LEAST_STREAM = 512 << 10
#: Seconds' worth of bytes that may be under way, of all connections: several round trips, so that the limit and not the
#: window bounds the rate. A window moves in jumps of up to half its size, and what a server that stopped for a moment
#: owes comes at once: so this is the most by which a second may exceed the limit, beside the bucket's depth.
_LEAST_SPAN, _MOST_SPAN, _ROUND_TRIPS = 0.08, 1.0, 4
#: Bytes of a connection's window. Below, Linux's receive buffer has no room for two segments, however short.
_LEAST_WINDOW, _MOST_WINDOW = 4 << 10, 2 << 20
#: Bytes of the least read, and of a connection's least buffer: a TLS record.
_LEAST_STEP, _LEAST_BUFFER = 512, 16 << 10
#: Seconds for which the limit counts as what bounds the download after somebody had to wait for it.
_FELT = 1.0


@dataclass(frozen=True, slots=True)
class ReceiveWindow:
    """How a connection is built under a limit. ``window``: bytes that may have arrived and not been read from the
    socket, paid for in advance. SO_RCVBUF is ``socket``, of which Linux takes up to twice as much; ``buffer`` is the
    size of the connection's buffer: small, so that progress is seen.

    Not by TCP_WINDOW_CLAMP: Linux sets that anew when it has seen the first segments.
    """

    window: int

    @property
    def socket(self) -> int:
        """For SO_RCVBUF."""
        return self.window // 2

    @property
    def buffer(self) -> int:
        """For the connection's buffer."""
        return max(_LEAST_BUFFER, self.window)

    def fits(self, other: ReceiveWindow | None) -> bool:
        """May a connection that was built for this room go on in `other`?"""
        return other is not None and self.window <= 2 * other.window <= 4 * self.window


class Throttle:
    """``note`` is what a person is told of the limit that is in force. What is paid to a mirror's (`of`) is paid to the
    whole download's as well."""

    def __init__(
        self, connections: int = 16, clock: Callable[[], float] = time.monotonic, above: Throttle | None = None
    ) -> None:
        """`connections`: how many there will be at most. `clock` gives seconds. `above`: the one of the whole
        download, where this is a mirror's."""
        self.limit: int | None = None
        self.note = ""
        self.mirrors: dict[str, Throttle] = {}
        self._connections = connections
        self._now = clock
        self._above = above
        self._bucket: TokenBucket | None = None
        self._turn = asyncio.Lock()
        self._changed = asyncio.Event()
        self._rtt = 0.0
        self._waited = float("-inf")

    def set(self, limit: int | None, note: str = "") -> None:
        """From now on: `limit` in bytes per second, None for no limit, 0 for nothing at all."""
        self.note = note
        if limit == self.limit:
            return
        self.limit = limit
        if limit:
            now = self._now()
            self._bucket = self._bucket.paced(limit, now) if self._bucket else TokenBucket.empty(limit, now)
        else:
            self._bucket = None
        self._changed.set()

    def of(self, mirror: str) -> Throttle:
        """The one of `mirror`, under this one."""
        if mirror not in self.mirrors:
            self.mirrors[mirror] = Throttle(self._connections, self._now, self)
        return self.mirrors[mirror]

    def set_mirrors(self, limits: Mapping[str, int]) -> None:
        """From now on: `limits` in bytes per second by mirror; those that are not in it have none of their own."""
        for mirror in {*self.mirrors, *limits}:
            self.of(mirror).set(limits.get(mirror))

    @property
    def limited(self) -> bool:
        """Is there a limit, this one's or the whole download's?"""
        return self.limit is not None or (self._above is not None and self._above.limited)

    @property
    def paused(self) -> bool:
        """Nothing may be fetched."""
        return self.limit == 0

    @property
    def streams(self) -> int:
        """How many connections the limit is enough for."""
        if not self.limit:
            return 0 if self.paused else self._connections
        return max(1, min(self._connections, self.limit // LEAST_STREAM))

    @property
    def felt(self) -> bool:
        """Is it the limit, and not the line, that bounds the download?"""
        return self.limit is not None and self._now() - self._waited < _FELT

    @property
    def room(self) -> ReceiveWindow | None:
        """How a new connection is built; None while there is no limit."""
        rooms = [room for room in (self._own_room, self._above.room if self._above else None) if room is not None]
        return min(rooms, key=lambda room: room.window, default=None)

    @property
    def _own_room(self) -> ReceiveWindow | None:
        if not self.limit:
            return None
        span = min(max(_LEAST_SPAN, _ROUND_TRIPS * self._rtt), _MOST_SPAN)
        window = int(self.limit * span / max(1, self.streams))
        return ReceiveWindow(min(max(window, _LEAST_WINDOW), _MOST_WINDOW))

    @property
    def step(self) -> int:
        """Bytes that are read from a socket at a time: a part of the window, since it opens by as much."""
        room = self.room
        return max(_LEAST_STEP, room.window // 4) if room is not None else _LEAST_BUFFER

    def answered(self, seconds: float) -> None:
        """A response head came `seconds` after its request."""
        self._rtt = min(seconds, self._rtt or seconds)
        if self._above is not None:
            self._above.answered(seconds)

    async def acquire(self, count: int) -> int:
        """Wait until `count` more bytes may arrive; returns `count` (0 for less). Those who wait are served in turn."""
        left = count = max(0, count)
        if not count or self.limit is None:
            return await self._acquire_parent(count)
        async with self._turn:
            while left > 0:
                # No more at a time than a bucket holds: who waits here has taken next to nothing that others could use.
                if piece := self._take(left):
                    left -= await self._acquire_parent(piece)
                else:
                    await self._wait(left)
        return count

    def _take(self, wanted: int) -> int:
        if self.limit is None:
            return wanted
        if self._bucket is None or self._bucket.wait(self._now(), wanted) > 0:
            return 0
        self._bucket, given = self._bucket.take(self._now(), wanted)
        return given

    async def _acquire_parent(self, count: int) -> int:
        return await self._above.acquire(count) if self._above is not None else count

    async def _wait(self, left: int) -> None:
        """Until there is something to take, or the limit is another one."""
        self._waited = self._now()
        self._changed.clear()
        seconds = self._bucket.wait(self._now(), left) if self._bucket is not None else None
        try:
            async with asyncio.timeout(seconds):
                await self._changed.wait()
        except TimeoutError:
            pass
        self._waited = self._now()
