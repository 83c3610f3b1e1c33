"""The edge to kopf: its events are hints that wake the queue. No handler reads an event's content to decide anything.

``kopf run -m modelferry.controller.app`` and `run` (the chart's way) are the same operator.
"""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import Mapping
from typing import Any

import aiohttp
import kopf
from aiohttp import web

from modelferry.controller.bandwidth_allocator import BandwidthAllocator
from modelferry.controller.facts import node_facts
from modelferry.controller.kube import Kube
from modelferry.controller.observe import Observer
from modelferry.controller.reconciler import Reconciler
from modelferry.controller.settings import Settings, from_environment
from modelferry.controller.work_queue import WorkQueue
from modelferry.messages.exposition import CONTENT_TYPE
from modelferry.resource import GROUP, PLURAL, VERSION, names

#: Where kopf answers the kubelet's probes.
HEALTH = "http://0.0.0.0:8080/healthz"


class Operator:
    """What lives as long as the process: the client, the queue, and what was last heard of each node."""

    def __init__(self, kube: Kube, session: aiohttp.ClientSession, settings: Settings) -> None:
        self._kube, self._session = kube, session
        observer = Observer(kube, settings, session)
        reconciler = Reconciler(kube, observer, settings, time.time)
        self.queue = WorkQueue(reconciler.reconcile)
        self._metrics, self._port = reconciler.metrics, settings.metrics_port
        self._site: web.AppRunner | None = None
        self._sharing = BandwidthAllocator(kube, observer, settings, time.time)
        self._tasks: list[asyncio.Task[None]] = []
        self._nodes: dict[str, object] = {}

    def node_changed(self, event: str, node: Mapping[str, Any]) -> bool:
        """Whether a node event is news: nodes report every few seconds, and nearly all of it is of no concern here."""
        found = node_facts(dict(node))
        before = self._nodes.get(found.name)
        if event == "DELETED":
            self._nodes.pop(found.name, None)
            return True
        self._nodes[found.name] = found
        return found != before

    def start(self) -> None:
        """Begin what runs by itself."""
        self._tasks.append(asyncio.create_task(self._sharing.run(), name="sharing"))

    async def serve_metrics(self) -> None:
        """Answer ``GET /metrics``, where the settings give a port."""
        if not self._port:
            return
        site = web.Application()
        site.router.add_get("/metrics", self._answer)
        self._site = web.AppRunner(site, access_log=None)
        await self._site.setup()
        await web.TCPSite(self._site, None, self._port).start()

    async def _answer(self, request: web.Request) -> web.Response:
        return web.Response(body=self._metrics.text().encode(), headers={"Content-Type": CONTENT_TYPE})

    async def close(self) -> None:
        """End the tasks, then the connections."""
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)
        if self._site is not None:
            await self._site.cleanup()
        await self.queue.close()
        await self._session.close()
        await self._kube.close()


@kopf.on.startup()
async def start(memo: kopf.Memo, settings: kopf.OperatorSettings, **_: Any) -> None:
    """Connect, and set kopf to only watch: no finalizers, annotations or Events of its own."""
    settings.posting.enabled = False
    settings.watching.server_timeout = 300
    ours = "=".join(names.MANAGED_BY)
    settings.watching.label_selectors["", "v1", "pods"] = ours  # the API server sends us no stranger's pods
    settings.watching.label_selectors["", "v1", "persistentvolumeclaims"] = ours
    memo.operator = Operator(await Kube.connect(), aiohttp.ClientSession(), from_environment())
    await memo.operator.serve_metrics()
    memo.operator.start()


@kopf.on.cleanup()
async def stop(memo: kopf.Memo, **_: Any) -> None:
    """Leave everything as it is: the next operator goes on from what the cluster shows."""
    await memo.operator.close()


@kopf.on.event(GROUP, VERSION, PLURAL)
async def artifact_event(memo: kopf.Memo, namespace: str | None, name: str, **_: Any) -> None:
    """An artifact was added, changed, deleted or listed."""
    memo.operator.queue.add((namespace or "", name))


@kopf.on.event("pods", labels=dict([names.MANAGED_BY]))
async def pod_event(memo: kopf.Memo, labels: Mapping[str, str], **_: Any) -> None:
    """One of our pods moved."""
    _wake(memo, labels)


@kopf.on.event("persistentvolumeclaims", labels=dict([names.MANAGED_BY]))
async def claim_event(memo: kopf.Memo, labels: Mapping[str, str], **_: Any) -> None:
    """One of our claims was bound or is gone."""
    _wake(memo, labels)


@kopf.on.event("nodes")
async def node_event(memo: kopf.Memo, body: Mapping[str, Any], type: str | None, **_: Any) -> None:
    """A node came, went, or changed in what placement goes by: every artifact may be concerned."""
    if memo.operator.node_changed(type or "", body):
        memo.operator.queue.add_all()


def _wake(memo: kopf.Memo, labels: Mapping[str, str]) -> None:
    memo.operator.queue.add((labels[names.LABEL_NAMESPACE], labels[names.LABEL_ARTIFACT]))


def run() -> None:
    """Run the operator until SIGTERM. Raises InvalidSpec where its settings are wrong."""
    from_environment()
    kopf.configure(log_prefix=False)
    for name in ("kopf.objects", "aiohttp.access"):  # a line for every heartbeat of a node, and for every probe
        logging.getLogger(name).setLevel(logging.WARNING)
    asyncio.run(kopf.operator(standalone=True, clusterwide=True, liveness_endpoint=HEALTH))
