"""The operator's HTTP endpoints: ``/healthz`` for the kubelet's probes, and ``/metrics`` for Prometheus."""

from __future__ import annotations

from collections.abc import Callable

from aiohttp import web

from modelferry.http.listening_socket import listening_socket
from modelferry.messages.exposition import CONTENT_TYPE

#: The port of ``/healthz``, as in the chart.
HEALTH_PORT = 8080


class Endpoints:
    """Serves both on all addresses, IPv6 and IPv4. `metrics` returns the text of ``/metrics``."""

    def __init__(self, metrics: Callable[[], str]) -> None:
        self._metrics = metrics
        self._runners: list[web.AppRunner] = []

    async def start(self, health_port: int, metrics_port: int | None) -> None:
        """Listen; without a `metrics_port`, serve no metrics. Raises OSError if a port is in use."""
        await self._serve(health_port, web.get("/healthz", self._get_health))
        if metrics_port is not None:
            await self._serve(metrics_port, web.get("/metrics", self._get_metrics))

    @property
    def ports(self) -> list[int]:
        """The ports that it listens on, in the order of `start`."""
        return [int(runner.addresses[0][1]) for runner in self._runners]

    async def close(self) -> None:
        """Stop listening."""
        for runner in self._runners:
            await runner.cleanup()

    async def _serve(self, port: int, route: web.RouteDef) -> None:
        application = web.Application()
        application.add_routes([route])
        runner = web.AppRunner(application, access_log=None)
        await runner.setup()
        self._runners.append(runner)
        await web.SockSite(runner, listening_socket(port)).start()

    async def _get_health(self, request: web.Request) -> web.Response:
        return web.json_response({"ok": True})  # the event loop answers: nothing blocks it

    async def _get_metrics(self, request: web.Request) -> web.Response:
        return web.Response(body=self._metrics().encode(), headers={"Content-Type": CONTENT_TYPE})
