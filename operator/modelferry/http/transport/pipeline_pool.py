"""The pipelined connections of a pool, and the servers that requests may be pipelined to. Opens nothing itself."""

from __future__ import annotations

import asyncio

from modelferry.http.transport.connection_key import ConnectionKey
from modelferry.http.transport.pipelining import DEPTH, PipelinedConnection, PipeliningPolicy
from modelferry.http.wire import Head, Origin


class PipelinePool:
    """The pipelined connections to each server. ``policy``: whether servers are still sent pipelined requests."""

    def __init__(self) -> None:
        self.policy = PipeliningPolicy()
        self._pipes: dict[ConnectionKey, list[PipelinedConnection]] = {}
        #: Servers that kept a connection open behind a response, so that it said where it ended.
        self._persistent: set[ConnectionKey] = set()

    def observe(self, key: ConnectionKey, head: Head) -> None:
        """A server kept a connection open behind the response with `head`."""
        proxy = key.route.proxies.for_url(key.origin.url)
        # A proxy that forwards requests answers by rules of its own.
        if head.version >= (1, 1) and (proxy is None or not proxy.forwards(key.origin.url)):
            self._persistent.add(key)

    def allows(self, key: ConnectionKey) -> bool:
        """Whether requests to a server may be pipelined. Not under a limit, where bytes are acquired for each
        connection before they arrive; and not to a presigned URL, which may be at another server."""
        return (
            key in self._persistent and key.route.presigner is None and not key.throttle.limited and self.policy.allowed
        )

    def count(self, origin: Origin) -> int:
        """Pipelined connections to `origin`."""
        return sum(not pipe.ended for key, pipes in self._pipes.items() if key.origin == origin for pipe in pipes)

    def least_loaded(self, key: ConnectionKey) -> PipelinedConnection | None:
        """The one with the fewest requests; None where each is full, or there is none."""
        pipes = self._pipes[key] = [pipe for pipe in self._pipes.get(key, ()) if not pipe.ended]
        least = min(pipes, key=lambda pipe: pipe.requests, default=None)
        return least if least is not None and least.requests < DEPTH else None

    def add(self, key: ConnectionKey, pipe: PipelinedConnection) -> PipelinedConnection:
        """Take in a new one, and return it."""
        self._pipes.setdefault(key, []).append(pipe)
        return pipe

    def end(self, pipe: PipelinedConnection, *, keep: bool = False) -> None:
        """Nothing more is read from `pipe`; its connection is closed, unless it is to be kept."""
        self.policy.unanswered(pipe.end(keep=keep))

    async def close(self) -> None:
        """Stop opening connections."""
        opening = [pipe.opening for pipes in self._pipes.values() for pipe in pipes]
        for task in opening:
            task.cancel()
        await asyncio.gather(*opening, return_exceptions=True)
