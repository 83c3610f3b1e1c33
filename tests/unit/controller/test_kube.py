"""The client's reading of the API server's errors."""

from __future__ import annotations

import pytest
from aiohttp import web
from aiohttp.test_utils import TestServer
from kubernetes.aio import client

from modelferry.controller.kube import APIError, Kube

POD = {"apiVersion": "v1", "kind": "Pod", "metadata": {"name": "p", "namespace": "speech"}}


async def create(status: int, reason: str, message: str = "") -> bool:
    """Create a pod at an API server that answers with an error."""

    async def answer(request: web.Request) -> web.Response:
        return web.json_response({"kind": "Status", "message": message, "reason": reason}, status=status)

    application = web.Application()
    application.router.add_post("/api/v1/namespaces/speech/pods", answer)
    async with TestServer(application) as server:
        kube = Kube(client.ApiClient(client.Configuration(host=str(server.make_url("/")).rstrip("/"))))
        try:
            return await kube.create(POD)
        finally:
            await kube.close()


async def test_an_existing_object_is_no_error() -> None:
    assert await create(409, "AlreadyExists") is False


async def test_a_conflict_is_not_taken_for_an_existing_object() -> None:
    """Two pods that count against one quota at the same time."""
    with pytest.raises(APIError) as caught:
        await create(409, "Conflict", "Operation cannot be fulfilled on resourcequotas")
    assert not caught.value.is_rejection


@pytest.mark.parametrize(
    ("status", "message", "rejection"),
    [
        (403, "exceeded quota: none", True),
        (422, "ValidatingAdmissionPolicy 'no-pods' denied request", True),
        (400, "admission webhook denied the request", True),
        (500, 'Internal error occurred: failed calling webhook "mesh": connection refused', True),
        (500, "etcdserver: request timed out", False),
        (429, "too many requests", False),
        (503, "the server is shutting down", False),
    ],
)
async def test_an_error_of_admission_is_a_rejection(status: int, message: str, rejection: bool) -> None:
    with pytest.raises(APIError) as caught:
        await create(status, "", message)
    assert caught.value.is_rejection is rejection
    assert message in str(caught.value)
