"""Connections that are opened before a request needs one: on a long network path TCP and TLS take two round trips."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from functools import partial
from typing import Generic, TypeVar

from modelferry.errors import ConnectionFailed, ModelferryError

#: Seconds that an open connection is kept until a request takes it.
UNUSED_TIMEOUT = 5.0

Key = TypeVar("Key")
Connection = TypeVar("Connection")


class Preconnect(Generic[Key, Connection]):
    """Opens connections by `connect`, and keeps them until they are taken. One that fails is forgotten, since the
    request that needs it connects again; another error, such as a refused certificate, is raised by `take`."""

    def __init__(
        self, connect: Callable[[Key], Awaitable[Connection]], discard: Callable[[Connection], None] | None = None
    ) -> None:
        """`discard` closes a connection that nobody took for some seconds: it may hold a worker of the server."""
        self._connect = connect
        self._discard = discard or (lambda connection: None)
        self._opening: dict[Key, list[asyncio.Task[Connection | ModelferryError | None]]] = {}

    def open(self, key: Key, count: int) -> None:
        """Have `count` of them being opened, or open."""
        tasks = self._opening.setdefault(key, [])
        for _ in range(count - len(tasks)):
            task = asyncio.create_task(self._attempt(key))
            task.add_done_callback(partial(self._start_timer, key))
            tasks.append(task)

    async def take(self, key: Key) -> Connection | None:
        """One of them, as soon as it is open; None where there is none. Raises what `connect` raised, except
        ConnectionFailed."""
        tasks = self._opening.get(key)
        if not tasks:
            return None
        # A server with few workers may have accepted some of them and not others.
        task = next((one for one in tasks if one.done()), tasks[0])
        tasks.remove(task)
        try:
            result = await asyncio.shield(task)
        except asyncio.CancelledError:
            if task.done():
                tasks.insert(0, task)  # for the next request
            else:
                task.cancel()  # a server that does not accept it would hold a worker for it later
            raise
        if isinstance(result, ModelferryError):
            raise result
        return result

    def _start_timer(self, key: Key, task: asyncio.Task[Connection | ModelferryError | None]) -> None:
        if not task.cancelled():
            task.get_loop().call_later(UNUSED_TIMEOUT, self._expire, key, task)

    def _expire(self, key: Key, task: asyncio.Task[Connection | ModelferryError | None]) -> None:
        if task not in self._opening.get(key, ()):
            return
        result = task.result()
        if result is not None and not isinstance(result, ModelferryError):
            self._opening[key].remove(task)
            self._discard(result)

    async def close(self) -> None:
        """Open no more. Whoever made `connect` closes those that are open."""
        tasks = [task for found in self._opening.values() for task in found]
        self._opening.clear()
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)

    async def _attempt(self, key: Key) -> Connection | ModelferryError | None:
        try:
            return await self._connect(key)
        except ConnectionFailed:
            return None
        except ModelferryError as error:
            return error
