"""The handlers that kopf calls: each only enqueues artifacts. None decides anything by the content of an event.

``kopf run -m modelferry.controller.app`` and `run`, which the chart uses, start the same operator.
"""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import Mapping
from dataclasses import replace
from typing import Any

import aiohttp
import kopf

from modelferry.controller.bandwidth_allocator import BandwidthAllocator
from modelferry.controller.endpoints import HEALTH_PORT, Endpoints
from modelferry.controller.event_filter import EventFilter
from modelferry.controller.kube import APIError, Kube
from modelferry.controller.observe import Observer
from modelferry.controller.orphan_cleanup import OrphanCleanup
from modelferry.controller.reconciler import Reconciler
from modelferry.controller.settings import Settings, from_environment
from modelferry.controller.sidecars import SidecarClient
from modelferry.controller.work_queue import WorkQueue
from modelferry.resource import GROUP, PLURAL, VERSION, names

#: Seconds between two attempts to reach the API server at the start.
_RETRY_INTERVAL = 2.0

_log = logging.getLogger(__name__)


class Operator:
    """What lives as long as the process: the client, the queue, and the filter of events."""

    def __init__(self, kube: Kube, session: aiohttp.ClientSession, settings: Settings) -> None:
        self._kube, self._session = kube, session
        sidecars = SidecarClient(kube, session, through_proxy=settings.through_proxy)
        observer = Observer(kube, settings, sidecars)
        reconciler = Reconciler(kube, observer, settings, time.time)
        self.queue = WorkQueue(reconciler.reconcile)
        self._node_queue = WorkQueue(OrphanCleanup(kube, settings, time.time).clean)
        self._cleans = bool(settings.cluster) and settings.orphans_after is not None
        self.events = EventFilter()
        self._endpoints, self._metrics_port = Endpoints(reconciler.metrics.text), settings.metrics_port or None
        self._allocator = BandwidthAllocator(kube, sidecars, settings, time.time)
        self._tasks: list[asyncio.Task[None]] = []

    def check_node(self, name: str) -> None:
        """Look for the directories of deleted artifacts on a node soon."""
        if self._cleans:
            self._node_queue.add(("", name))

    async def start(self) -> None:
        """Start the background tasks and the HTTP endpoints."""
        self._tasks.append(asyncio.create_task(self._allocator.run(), name="bandwidth-allocator"))
        await self._endpoints.start(HEALTH_PORT, self._metrics_port)

    async def close(self) -> None:
        """Cancel the tasks, then close the connections."""
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)
        await self._endpoints.close()
        await self.queue.close()
        await self._node_queue.close()
        await self._session.close()
        await self._kube.close()


@kopf.on.startup()
async def start(memo: kopf.Memo, settings: kopf.OperatorSettings, **_: Any) -> None:
    """Connect, and configure kopf to watch only: no finalizers, annotations or Events of its own."""
    settings.posting.enabled = False
    settings.watching.server_timeout = 300
    managed = "=".join(names.MANAGED_BY)
    settings.watching.label_selectors["", "v1", "pods"] = managed  # no events of foreign pods
    settings.watching.label_selectors["", "v1", "persistentvolumeclaims"] = managed
    kube = await Kube.connect()
    configured = replace(from_environment(), cluster=await _cluster_uid(kube))
    memo.operator = Operator(kube, aiohttp.ClientSession(), configured)
    await memo.operator.start()


@kopf.on.cleanup()
async def stop(memo: kopf.Memo, **_: Any) -> None:
    """Change nothing: the next operator continues from the state of the cluster."""
    await memo.operator.close()


@kopf.on.event(GROUP, VERSION, PLURAL)
async def artifact_event(memo: kopf.Memo, body: Mapping[str, Any], type: str | None, **_: Any) -> None:
    """An artifact was added, changed, deleted or listed."""
    if memo.operator.events.artifact(type, body):
        memo.operator.queue.add((body["metadata"].get("namespace", ""), body["metadata"]["name"]))


@kopf.on.event("pods", labels=dict([names.MANAGED_BY]))
async def pod_event(memo: kopf.Memo, body: Mapping[str, Any], type: str | None, **_: Any) -> None:
    """One of our pods changed."""
    if not memo.operator.events.pod(type, body):
        return
    if names.LABEL_ARTIFACT in body["metadata"]["labels"]:
        _enqueue(memo, body["metadata"]["labels"])
    else:
        memo.operator.check_node((body["metadata"].get("annotations") or {}).get(names.ANNOTATION_NODE, ""))


@kopf.on.event("persistentvolumeclaims", labels=dict([names.MANAGED_BY]))
async def claim_event(memo: kopf.Memo, body: Mapping[str, Any], type: str | None, **_: Any) -> None:
    """One of our claims changed."""
    if memo.operator.events.claim(type, body):
        _enqueue(memo, body["metadata"]["labels"])


@kopf.on.event("nodes")
async def node_event(memo: kopf.Memo, body: Mapping[str, Any], type: str | None, **_: Any) -> None:
    """A node was added or deleted, or its labels, taints, readiness or boot changed."""
    concerned = memo.operator.events.node(type, body)
    if concerned is None:
        memo.operator.queue.add_all()
        if type != "DELETED" and names.CHECKED_LABEL not in body["metadata"].get("labels", {}):
            memo.operator.check_node(body["metadata"]["name"])
    for key in concerned or ():
        memo.operator.queue.add(key)


async def _cluster_uid(kube: Kube) -> str:
    """The uid of the namespace kube-system, which identifies the cluster; empty if it may not be read."""
    while True:
        try:
            namespace = await kube.get("Namespace", "kube-system")
            return str(namespace["metadata"]["uid"]) if namespace else ""
        except APIError as error:
            _log.warning("the namespace kube-system cannot be read: %s", error)
            if error.is_rejection:
                return ""
            await asyncio.sleep(_RETRY_INTERVAL)


def _enqueue(memo: kopf.Memo, labels: Mapping[str, str]) -> None:
    memo.operator.queue.add((labels[names.LABEL_NAMESPACE], labels[names.LABEL_ARTIFACT]))


def run() -> None:
    """Run the operator until SIGTERM. Raises InvalidSpec if its settings are invalid."""
    from_environment()
    kopf.configure(log_prefix=False)
    for name in ("kopf.objects", "aiohttp.access"):  # one line per heartbeat of a node, and per probe
        logging.getLogger(name).setLevel(logging.WARNING)
    asyncio.run(kopf.operator(standalone=True, clusterwide=True))
