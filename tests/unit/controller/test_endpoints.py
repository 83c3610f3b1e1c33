"""The operator's HTTP endpoints, and the requests to its sidecars, over real sockets of both address families."""

from __future__ import annotations

import socket

import aiohttp
import pytest
from aiohttp import web

from modelferry.controller import sidecars
from modelferry.controller.endpoints import Endpoints
from modelferry.controller.kube import Kube
from modelferry.controller.sidecars import SidecarClient
from modelferry.http.listening_socket import listening_socket
from modelferry.messages import Progress
from modelferry.values.urls import host_port
from unit.controller.objects import pod

HOSTS = ("127.0.0.1", "::1") if socket.has_dualstack_ipv6() else ("127.0.0.1",)


async def fetch(session: aiohttp.ClientSession, host: str, port: int, path: str) -> tuple[int, str]:
    """The status and the body of a response."""
    async with session.get(f"http://{host_port(host, port)}{path}") as response:
        return response.status, await response.text()


async def test_the_probes_and_the_metrics_are_served_on_ipv6_and_on_ipv4() -> None:
    """cilium/cilium#13165: in an IPv6 cluster the kubelet killed the pod, because its probes had no answer."""
    endpoints = Endpoints(lambda: "modelferry_copies 2\n")
    await endpoints.start(0, 0)
    health, metrics = endpoints.ports
    async with aiohttp.ClientSession() as session:
        for host in HOSTS:
            assert await fetch(session, host, health, "/healthz") == (200, '{"ok": true}')
            assert await fetch(session, host, metrics, "/metrics") == (200, "modelferry_copies 2\n")
            assert (await fetch(session, host, health, "/metrics"))[0] == 404
    await endpoints.close()


async def test_no_metrics_are_served_without_a_port() -> None:
    endpoints = Endpoints(str)
    await endpoints.start(0, None)
    assert len(endpoints.ports) == 1
    await endpoints.close()


@pytest.mark.parametrize("address", HOSTS)
async def test_a_sidecar_is_asked_at_an_address_of_either_family(monkeypatch: pytest.MonkeyPatch, address: str) -> None:
    listener = listening_socket(0)
    monkeypatch.setattr(sidecars, "PORT", listener.getsockname()[1])
    application = web.Application()
    application.add_routes([web.get("/v1/progress", _progress)])
    runner = web.AppRunner(application, access_log=None)
    await runner.setup()
    await web.SockSite(runner, listener).start()
    async with aiohttp.ClientSession() as session:
        client = SidecarClient(_NO_KUBE, session, through_proxy=False)
        assert await client.progress(pod("fetch", "node-0", ip=address)) == Progress(phase="fetching")
    await runner.cleanup()


async def _progress(request: web.Request) -> web.Response:
    return web.Response(text=Progress(phase="fetching").encode())


#: Only `through_proxy` uses the API server.
_NO_KUBE = Kube.__new__(Kube)
