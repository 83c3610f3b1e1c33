"""Connections that are opened before anybody asks for one: on a long way, TCP and TLS take two round trips."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from typing import Generic, TypeVar

from modelferry.errors import ConnectionFailed, ModelferryError

Line = TypeVar("Line")
Connection = TypeVar("Connection")


class Preconnect(Generic[Line, Connection]):
    """Opens connections by `connect`, and keeps them until they are taken. One that cannot be made is forgotten, since
    who needs it connects once more; a refusal, of a certificate say, is told to who takes it."""

    def __init__(self, connect: Callable[[Line], Awaitable[Connection]]) -> None:
        self._connect = connect
        self._opening: dict[Line, list[asyncio.Task[Connection | ModelferryError | None]]] = {}

    def open(self, key: Line, count: int) -> None:
        """Have `count` of them under way, or ready."""
        tasks = self._opening.setdefault(key, [])
        tasks += [asyncio.create_task(self._try(key)) for _ in range(count - len(tasks))]

    async def take(self, key: Line) -> Connection | None:
        """One of them, as soon as it is open; None where there is none. Raises what `connect` raised, but for
        ConnectionFailed."""
        tasks = self._opening.get(key)
        if not tasks:
            return None
        task = tasks.pop(0)
        try:
            made = await asyncio.shield(task)
        except asyncio.CancelledError:
            tasks.insert(0, task)  # For the next one.
            raise
        if isinstance(made, ModelferryError):
            raise made
        return made

    async def close(self) -> None:
        """Open no more. Those that are open are their maker's to close."""
        tasks = [task for found in self._opening.values() for task in found]
        self._opening.clear()
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)

    async def _try(self, key: Line) -> Connection | ModelferryError | None:
        try:
            return await self._connect(key)
        except ConnectionFailed:
            return None
        except ModelferryError as error:
            return error
