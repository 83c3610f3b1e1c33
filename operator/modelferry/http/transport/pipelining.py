"""Several requests on one connection: sent back to back, and answered in their order (RFC 9112 section 9.3.2).

A small file costs a round trip, whatever the line carries; so a few of them are asked for at once. Only GETs are, of a
server that has shown that it keeps connections and frames its answers. Who comes after a request that breaks off gets
no answer, and is told so: nothing is known of its request, and it may be sent again.
"""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Awaitable, Callable

from modelferry.errors import ModelferryError
from modelferry.http.transport.connection import Connection

#: Requests on one connection.
DEPTH = 12
#: Requests that may be left without an answer before that counts, and the share of all that may be: servers close a
#: connection after 100 or 1000 requests, and what stands behind the last one is asked for again.
_SPARED, _SHARE = 16, 8


class Unanswered(Exception):
    """The connection ended before the answer's turn came, through no fault of the request's."""


class PipelinedConnection:
    """One connection, from when it is being opened until nobody waits for it any more."""

    def __init__(self, connect: Callable[[], Awaitable[Connection]], drop: Callable[[Connection], None]) -> None:
        """`connect` opens the connection, `drop` closes it when it is of no more use."""
        self._drop = drop
        self._turns: deque[asyncio.Future[Connection]] = deque()
        self._unsent: list[bytes] = []
        self._connection: Connection | None = None
        #: At work until the connection is open.
        self.opening = asyncio.create_task(self._open(connect))
        self.ended = False

    @property
    def requests(self) -> int:
        """How many wait for an answer, the one that is being read included."""
        return len(self._turns)

    def send(self, request: bytes) -> asyncio.Future[Connection]:
        """Send `request` behind the others. Returns the connection, when the answer is the next thing to be read from
        it; raises Unanswered."""
        turn: asyncio.Future[Connection] = asyncio.get_running_loop().create_future()
        self._turns.append(turn)
        if self._connection is None:
            self._unsent.append(request)
        else:
            self._connection.send(request)
            self._call()
        return turn

    def next(self) -> None:
        """The first answer was read to its end."""
        self._turns.popleft()
        self._call()

    def end(self, *, keep: bool = False) -> int:
        """Nothing more will be read; the connection is closed, unless it is to `keep`. Returns how many get no
        answer."""
        self.ended = True
        waiting = [turn for turn in self._turns if not turn.done()]
        for turn in waiting:
            turn.set_exception(Unanswered())
        self._turns.clear()
        if self._connection is not None and not keep:
            self._drop(self._connection)
        return len(waiting)

    async def _open(self, connect: Callable[[], Awaitable[Connection]]) -> None:
        try:
            connection = self._connection = await connect()
        except (ModelferryError, OSError):
            return  # whoever asks again, alone, is told why
        finally:
            if self._connection is None:
                self.end()
        for request in self._unsent:
            connection.send(request)
        self._call()

    def _call(self) -> None:
        """Whose turn is it?"""
        if not self._turns or self._connection is None:
            return
        first = self._turns[0]
        if first.cancelled():
            self.end()  # its answer would come all the same
        elif not first.done():
            first.set_result(self._connection)


class PipeliningPolicy:
    """Are requests sent behind others? Until more of them go without an answer than it saves, or one is answered with
    something else than what was asked for."""

    def __init__(self) -> None:
        self._lost = self._answered = 0
        self._spoilt = False

    @property
    def given(self) -> bool:
        """They are."""
        return not self._spoilt and self._lost <= _SPARED + self._answered // _SHARE

    def answered(self) -> None:
        """One that was sent behind another was answered."""
        self._answered += 1

    def lost(self, count: int) -> None:
        """`count` were not."""
        self._lost += count

    def spoil(self) -> None:
        """There was something wrong."""
        self._spoilt = True
