"""HTTP pipelining: several requests on one connection, sent back to back, and answered in order (RFC 9112, 9.3.2).

A small file costs a round trip, whatever the bandwidth; so several are requested at once. Only GETs are pipelined, and
only to a server that has kept a connection open and framed its responses. A request behind one that breaks off gets no
response (`Unanswered`): nothing is known about it, and it may be sent again.
"""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Awaitable, Callable

from modelferry.errors import ModelferryError
from modelferry.http.transport.connection import Connection

#: Requests on one connection.
DEPTH = 12
#: Requests that may stay without a response before that counts, and the share of all that may: servers close a
#: connection after 100 or 1000 requests, and what was sent behind the last one is requested again.
_TOLERATED, _SHARE = 16, 8


class Unanswered(Exception):
    """The connection ended before this request's response, which the request did not cause."""


class PipelinedConnection:
    """One connection, from when it is being opened until no request waits on it."""

    def __init__(self, connect: Callable[[], Awaitable[Connection]], discard: Callable[[Connection], None]) -> None:
        """`connect` opens the connection, `discard` closes it when it is of no more use."""
        self._discard = discard
        self._turns: deque[asyncio.Future[Connection]] = deque()
        self._unsent: list[bytes] = []
        self._connection: Connection | None = None
        #: Runs until the connection is open.
        self.opening = asyncio.create_task(self._open(connect))
        self.ended = False

    @property
    def requests(self) -> int:
        """How many wait for a response, the one that is being read included."""
        return len(self._turns)

    def send(self, request: bytes) -> asyncio.Future[Connection]:
        """Send `request` behind the others. The future has the connection when the response is the next thing to be
        read from it, or raises Unanswered."""
        turn: asyncio.Future[Connection] = asyncio.get_running_loop().create_future()
        self._turns.append(turn)
        if self._connection is None:
            self._unsent.append(request)
        else:
            self._connection.send(request)
            self._start_next()
        return turn

    def next(self) -> None:
        """The first response was read to its end."""
        self._turns.popleft()
        self._start_next()

    def end(self, *, keep: bool = False) -> int:
        """Nothing more will be read; the connection is closed, unless it is to be kept. Returns how many requests get
        no response."""
        self.ended = True
        waiting = [turn for turn in self._turns if not turn.done()]
        for turn in waiting:
            turn.set_exception(Unanswered())
        self._turns.clear()
        if self._connection is not None and not keep:
            self._discard(self._connection)
        return len(waiting)

    async def _open(self, connect: Callable[[], Awaitable[Connection]]) -> None:
        try:
            connection = self._connection = await connect()
        except (ModelferryError, OSError):
            return  # each request is sent again, alone, and then reports why
        finally:
            if self._connection is None:
                self.end()
        for request in self._unsent:
            connection.send(request)
        self._start_next()

    def _start_next(self) -> None:
        """Give the connection to the request whose response is next."""
        if not self._turns or self._connection is None:
            return
        first = self._turns[0]
        if first.cancelled():
            self.end()  # its response would arrive anyway
        elif not first.done():
            first.set_result(self._connection)


class PipeliningPolicy:
    """Whether requests are pipelined: until more of them stay without a response than it saves, or one gets the
    response to something else."""

    def __init__(self) -> None:
        self._unanswered = self._answered = 0
        self._stopped = False

    @property
    def allowed(self) -> bool:
        """Whether they are."""
        return not self._stopped and self._unanswered <= _TOLERATED + self._answered // _SHARE

    def answered(self) -> None:
        """One that was sent behind another was answered."""
        self._answered += 1

    def unanswered(self, count: int) -> None:
        """`count` were not."""
        self._unanswered += count

    def stop(self) -> None:
        """A response did not fit its request: never again."""
        self._stopped = True
