"""Hands out the cluster's bandwidth: looks at all downloads every few seconds and writes their shares to their pods.

Beside the artifacts' own reconciliation, since a share depends on all of them. Without this loop (the operator is down)
every download keeps the share that it has.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable

from modelferry.controller.apply import annotate
from modelferry.controller.bandwidth_allocation import Claimant, grants
from modelferry.controller.facts import PodFacts, pod_facts
from modelferry.controller.kube import APIError, Kube
from modelferry.controller.observe import Observer
from modelferry.controller.settings import Settings
from modelferry.errors import InvalidSpec
from modelferry.resource import names
from modelferry.resource.parse.bandwidth_fields import read_limits

_log = logging.getLogger(__name__)


class BandwidthAllocator:
    """`clock` gives seconds of the epoch."""

    def __init__(self, kube: Kube, observer: Observer, settings: Settings, clock: Callable[[], float]) -> None:
        self._kube, self._observer, self._settings, self._clock = kube, observer, settings, clock
        self._used: dict[str, int | None] = {}

    async def run(self) -> None:
        """Look again and again, until this is cancelled; returns at once where there is nothing to share."""
        if self._settings.bandwidth is None:
            return
        while True:
            try:
                await self.look(self._settings.bandwidth)
            except APIError as error:
                _log.warning("the shares of the bandwidth stay as they are: %s", error)
            await asyncio.sleep(self._settings.status_interval)

    async def look(self, total: int) -> None:
        """Share out `total` bytes per second, once. Raises APIError."""
        labels = dict([names.MANAGED_BY]) | {names.LABEL_ROLE: "fetch"}
        found = [pod_facts(pod, "fetch") for pod in await self._kube.list("Pod", labels=labels)]
        # One that is on its way out still receives; one that waits for its node does not.
        pods = {pod.uid: pod for pod in found if pod.phase == "Running" and pod.finished is None}
        await self._hear(pods)
        claimants = [Claimant(uid, self._most(pod), _granted(pod), self._used[uid]) for uid, pod in pods.items()]
        shares = grants(total, claimants)
        # The cuts first: should the API server refuse one, nobody has got more for it.
        for one in sorted(claimants, key=lambda one: shares[one.name] - (one.granted or 0)):
            if shares[one.name] != one.granted:
                pod = pods[one.name]
                await annotate(self._kube, pod.namespace, pod.name, names.ANNOTATION_SHARE, str(shares[one.name]))

    async def _hear(self, pods: dict[str, PodFacts]) -> None:
        """What each works by: its own word, the last one where it is silent, its share where it never spoke."""
        answers = await asyncio.gather(*(self._observer.ask(pod) for pod in pods.values()))
        used: dict[str, int | None] = {}
        for pod, progress in zip(pods.values(), answers, strict=True):
            told = progress.limit if progress is not None else None
            used[pod.uid] = told if told is not None else self._used.get(pod.uid, _granted(pod))
        self._used = used

    def _most(self, pod: PodFacts) -> int | None:
        try:
            return read_limits(pod.limits or "").at(self._clock()).rate
        except InvalidSpec:
            return None


def _granted(pod: PodFacts) -> int | None:
    return int(pod.share) if pod.share and pod.share.isdigit() else None
