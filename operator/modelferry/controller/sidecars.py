"""The checkpoint sidecars' answers on ``GET /v1/progress``."""

from __future__ import annotations

import asyncio
from collections.abc import Iterable

import aiohttp

from modelferry.controller.facts import PodFacts
from modelferry.controller.kube import APIError, Kube
from modelferry.messages import Progress
from modelferry.messages.progress import PORT
from modelferry.values.urls import host_port

#: Concurrent requests, and seconds that one may take: a slow node must not delay the status of the others.
_MAX_CONCURRENT, _TIMEOUT = 16, 3.0


class SidecarClient:
    """Requests progress from the pods directly, or with `through_proxy` through the API server."""

    def __init__(self, kube: Kube, session: aiohttp.ClientSession, *, through_proxy: bool) -> None:
        self._kube, self._session, self._through_proxy = kube, session, through_proxy

    async def progress(self, pod: PodFacts) -> Progress | None:
        """The progress of the download in `pod`; None if its sidecar does not answer."""
        try:
            if self._through_proxy:
                text = await self._kube.proxy_get(pod.namespace, pod.name, PORT, "v1/progress", _TIMEOUT)
                return Progress.decode(text)
            timeout = aiohttp.ClientTimeout(total=_TIMEOUT)
            async with self._session.get(f"http://{host_port(pod.ip, PORT)}/v1/progress", timeout=timeout) as response:
                return Progress.decode(await response.read())
        except (aiohttp.ClientError, APIError, OSError, TimeoutError, ValueError):
            return None  # the next reconciliation requests it again

    async def progress_by_pod(self, pods: Iterable[PodFacts]) -> dict[str, Progress]:
        """The progress of each of `pods` whose sidecar answers, by the pod's name."""
        slots = asyncio.Semaphore(_MAX_CONCURRENT)

        async def request(pod: PodFacts) -> tuple[str, Progress | None]:
            async with slots:
                return pod.name, await self.progress(pod)

        answers = await asyncio.gather(*(request(pod) for pod in pods))
        return {name: progress for name, progress in answers if progress}
