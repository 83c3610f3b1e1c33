"""The ways to an origin that the catalogue of hostile servers is run over (`test_catalogue`)."""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable
from contextlib import AbstractAsyncContextManager, asynccontextmanager

from network.world import World

#: Lays a way: while its block runs, what `World` pulls goes over it.
Way = Callable[[World], AbstractAsyncContextManager[None]]


@asynccontextmanager
async def direct(world: World) -> AsyncIterator[None]:
    """Straight to the origin."""
    yield


WAYS: dict[str, Way] = {"direct": direct}
