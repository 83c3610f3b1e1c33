"""Connections that are opened before a request needs one: on a long network path TCP and TLS take two round trips."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from typing import Generic, TypeVar

from modelferry.errors import ConnectionFailed, ModelferryError

Key = TypeVar("Key")
Connection = TypeVar("Connection")


class Preconnect(Generic[Key, Connection]):
    """Opens connections by `connect`, and keeps them until they are taken. One that fails is forgotten, since the
    request that needs it connects again; another error, such as a refused certificate, is raised by `take`."""

    def __init__(self, connect: Callable[[Key], Awaitable[Connection]]) -> None:
        self._connect = connect
        self._opening: dict[Key, list[asyncio.Task[Connection | ModelferryError | None]]] = {}

    def open(self, key: Key, count: int) -> None:
        """Have `count` of them being opened, or open."""
        tasks = self._opening.setdefault(key, [])
        tasks += [asyncio.create_task(self._attempt(key)) for _ in range(count - len(tasks))]

    async def take(self, key: Key) -> Connection | None:
        """One of them, as soon as it is open; None where there is none. Raises what `connect` raised, except
        ConnectionFailed."""
        tasks = self._opening.get(key)
        if not tasks:
            return None
        task = tasks.pop(0)
        try:
            result = await asyncio.shield(task)
        except asyncio.CancelledError:
            tasks.insert(0, task)  # for the next request
            raise
        if isinstance(result, ModelferryError):
            raise result
        return result

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
