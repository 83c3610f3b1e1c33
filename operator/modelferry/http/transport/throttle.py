"""A limit on what all connections of a download may receive together, and those to one mirror, changed while it runs.

Bytes are acquired before they can arrive: a request acquires what the kernel may hold unread, and each further read
from the socket what it makes room for. So what has arrived never exceeds what the bucket gave, not at the start either,
and the server sees the limit as it would see a network path of that rate. The socket is read in small steps, not TLS's
plaintext: a record of 16 KiB is half a second's bytes of a small limit.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass

from modelferry.http.transport.token_bucket import TokenBucket

#: Bytes per second that a stream gets at least, because there are fewer of them: a server sees it make progress.
MIN_STREAM_RATE = 512 << 10
#: Seconds' worth of bytes that may be in flight, of all connections: several round trips, so that the limit and not the
#: window bounds the rate. A window moves in jumps of up to half its size, and what a server that stopped for a moment
#: has left to send arrives at once: so this is the most by which a second may exceed the limit, beside the bucket's
#: depth.
_MIN_SPAN, _MAX_SPAN, _ROUND_TRIPS = 0.08, 1.0, 4
#: Bytes of a connection's window. Below, Linux's receive buffer does not hold two segments, however short.
_MIN_WINDOW, _MAX_WINDOW = 4 << 10, 2 << 20
#: Bytes of the shortest read, and of a connection's smallest buffer: a TLS record.
_MIN_READ, _MIN_BUFFER = 512, 16 << 10
#: Seconds for which the limit counts as the bottleneck after a stream had to wait for it.
_RECENT = 1.0


@dataclass(frozen=True, slots=True)
class ReceiveWindow:
    """How a connection is built under a limit. ``size``: bytes that may have arrived and not been read from the socket,
    acquired in advance. Linux takes up to twice ``socket_buffer`` (SO_RCVBUF). ``buffer`` is the size of the
    connection's buffer: small, so that progress is visible.

    Not by TCP_WINDOW_CLAMP: Linux changes that again when it has received the first segments.
    """

    size: int

    @property
    def socket_buffer(self) -> int:
        """For SO_RCVBUF."""
        return self.size // 2

    @property
    def buffer(self) -> int:
        """For the connection's buffer."""
        return max(_MIN_BUFFER, self.size)

    def fits(self, other: ReceiveWindow | None) -> bool:
        """Whether a connection that was built for this window may go on under `other`."""
        return other is not None and self.size <= 2 * other.size <= 4 * self.size


class Throttle:
    """A limit. ``description`` describes it to the user. What a mirror's throttle (`for_mirror`) acquires is acquired
    from the download's as well."""

    def __init__(
        self, connections: int = 16, clock: Callable[[], float] = time.monotonic, parent: Throttle | None = None
    ) -> None:
        """`connections`: how many there will be at most. `clock` gives seconds. `parent`: the download's, where this is
        a mirror's."""
        self.limit: int | None = None
        self.description = ""
        self.mirrors: dict[str, Throttle] = {}
        self._connections = connections
        self._now = clock
        self._parent = parent
        self._bucket: TokenBucket | None = None
        self._turn = asyncio.Lock()
        self._changed = asyncio.Event()
        self._rtt = 0.0
        self._waited = float("-inf")

    def set(self, limit: int | None, description: str = "") -> None:
        """From now on: `limit` in bytes per second, None for no limit, 0 for nothing at all."""
        self.description = description
        if limit == self.limit:
            return
        self.limit = limit
        if limit:
            now = self._now()
            self._bucket = self._bucket.with_rate(limit, now) if self._bucket else TokenBucket.empty(limit, now)
        else:
            self._bucket = None
        self._changed.set()

    def for_mirror(self, mirror: str) -> Throttle:
        """The throttle of `mirror`, under this one."""
        if mirror not in self.mirrors:
            self.mirrors[mirror] = Throttle(self._connections, self._now, self)
        return self.mirrors[mirror]

    def set_mirrors(self, limits: Mapping[str, int]) -> None:
        """From now on: `limits` in bytes per second by mirror; a mirror that is not in it has no limit of its own."""
        for mirror in {*self.mirrors, *limits}:
            self.for_mirror(mirror).set(limits.get(mirror))

    @property
    def limited(self) -> bool:
        """Whether there is a limit, this one's or the download's."""
        return self.limit is not None or (self._parent is not None and self._parent.limited)

    @property
    def paused(self) -> bool:
        """Nothing may be fetched."""
        return self.limit == 0

    @property
    def max_streams(self) -> int:
        """How many connections the limit suffices for."""
        if not self.limit:
            return 0 if self.paused else self._connections
        return max(1, min(self._connections, self.limit // MIN_STREAM_RATE))

    @property
    def is_bottleneck(self) -> bool:
        """Whether the limit, and not the network path, bounds the download."""
        return self.limit is not None and self._now() - self._waited < _RECENT

    @property
    def receive_window(self) -> ReceiveWindow | None:
        """How a new connection is built; None while there is no limit."""
        parents = self._parent.receive_window if self._parent else None
        windows = [window for window in (self._own_window, parents) if window is not None]
        return min(windows, key=lambda window: window.size, default=None)

    @property
    def _own_window(self) -> ReceiveWindow | None:
        if not self.limit:
            return None
        span = min(max(_MIN_SPAN, _ROUND_TRIPS * self._rtt), _MAX_SPAN)
        size = int(self.limit * span / max(1, self.max_streams))
        return ReceiveWindow(min(max(size, _MIN_WINDOW), _MAX_WINDOW))

    @property
    def read_size(self) -> int:
        """Bytes that are read from a socket at a time: a part of the window, since it opens by as much."""
        window = self.receive_window
        return max(_MIN_READ, window.size // 4) if window is not None else _MIN_BUFFER

    def observe_round_trip(self, seconds: float) -> None:
        """A response head arrived `seconds` after its request."""
        self._rtt = min(seconds, self._rtt or seconds)
        if self._parent is not None:
            self._parent.observe_round_trip(seconds)

    async def acquire(self, count: int) -> int:
        """Wait until `count` more bytes may arrive; returns `count` (0 where it is negative). Callers are served in
        order."""
        left = count = max(0, count)
        if not count or self.limit is None:
            return await self._acquire_parent(count)
        async with self._turn:
            while left > 0:
                # No more at a time than a bucket holds: a caller that waits here keeps next to nothing from others.
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
        self._bucket, taken = self._bucket.take(self._now(), wanted)
        return taken

    async def _acquire_parent(self, count: int) -> int:
        return await self._parent.acquire(count) if self._parent is not None else count

    async def _wait(self, left: int) -> None:
        """Until there is something to take, or the limit changes."""
        self._waited = self._now()
        self._changed.clear()
        seconds = self._bucket.wait(self._now(), left) if self._bucket is not None else None
        try:
            async with asyncio.timeout(seconds):
                await self._changed.wait()
        except TimeoutError:
            pass
        self._waited = self._now()
