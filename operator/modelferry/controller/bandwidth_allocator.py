"""Allocates the cluster's bandwidth: every few seconds it reads all downloads and writes their shares to their pods.

It runs beside the reconciliation of the artifacts, because each share depends on all downloads. While it does not run
(the operator is down), every download keeps its share.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable

from modelferry.controller.apply import annotate_pod
from modelferry.controller.bandwidth_allocation import Consumer, allocate
from modelferry.controller.facts import PodFacts, pod_facts
from modelferry.controller.kube import APIError, Kube
from modelferry.controller.settings import Settings
from modelferry.controller.sidecars import SidecarClient
from modelferry.errors import InvalidSpec
from modelferry.resource import names
from modelferry.resource.parse.bandwidth_fields import read_limits

_log = logging.getLogger(__name__)


class BandwidthAllocator:
    """`clock` gives seconds of the epoch."""

    def __init__(self, kube: Kube, sidecars: SidecarClient, settings: Settings, clock: Callable[[], float]) -> None:
        self._kube, self._sidecars, self._settings, self._clock = kube, sidecars, settings, clock
        self._in_use: dict[str, int | None] = {}

    async def run(self) -> None:
        """Allocate periodically until this is cancelled; returns immediately if the cluster has no limit."""
        if self._settings.bandwidth is None:
            return
        while True:
            try:
                await self.reconcile(self._settings.bandwidth)
            except APIError as error:
                _log.warning("the bandwidth shares are not updated: %s", error)
            await asyncio.sleep(self._settings.status_interval)

    async def reconcile(self, total: int) -> None:
        """Allocate `total` bytes per second once. Raises APIError."""
        labels = dict([names.MANAGED_BY]) | {names.LABEL_ROLE: "fetch"}
        found = [pod_facts(pod, "fetch") for pod in await self._kube.list("Pod", labels=labels)]
        # A terminating pod still receives; a pending one does not.
        pods = {pod.uid: pod for pod in found if pod.phase == "Running" and pod.finished is None}
        self._in_use = await self._shares_in_use(pods)
        consumers = [Consumer(uid, self._own_limit(pod), _share(pod), self._in_use[uid]) for uid, pod in pods.items()]
        shares = allocate(total, consumers)
        # Reductions first: if the API server rejects one, no share has grown because of it.
        for one in sorted(consumers, key=lambda one: shares[one.name] - (one.share or 0)):
            if shares[one.name] != one.share:
                pod = pods[one.name]
                await annotate_pod(self._kube, pod.namespace, pod.name, names.ANNOTATION_SHARE, str(shares[one.name]))

    async def _shares_in_use(self, pods: dict[str, PodFacts]) -> dict[str, int | None]:
        """What each applies: as its sidecar reports, or last reported; its annotation if it never did."""
        answers = await asyncio.gather(*(self._sidecars.progress(pod) for pod in pods.values()))
        in_use: dict[str, int | None] = {}
        for pod, progress in zip(pods.values(), answers, strict=True):
            reported = progress.limit if progress is not None else None
            in_use[pod.uid] = reported if reported is not None else self._in_use.get(pod.uid, _share(pod))
        return in_use

    def _own_limit(self, pod: PodFacts) -> int | None:
        try:
            return read_limits(pod.limits or "").at(self._clock()).rate
        except InvalidSpec:
            return None


def _share(pod: PodFacts) -> int | None:
    return int(pod.share) if pod.share and pod.share.isdigit() else None
