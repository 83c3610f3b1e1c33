"""The cluster's bandwidth, written as shares to the running downloads."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

from modelferry.controller.bandwidth_allocator import BandwidthAllocator
from modelferry.controller.facts import PodFacts
from modelferry.messages import Progress
from unit.controller.objects import NOW, SETTINGS

SHARED = replace(SETTINGS, bandwidth=900)


class Cluster:
    """Download pods that apply their shares when the test says so."""

    def __init__(self, **limits: str) -> None:
        self.pods = {name: {"limits": text, "share": "0"} for name, text in limits.items()}
        self.in_use: dict[str, int | None] = dict.fromkeys(limits, 0)

    async def list(self, kind: str, namespace: str = "", labels: Any = None) -> list[dict[str, Any]]:
        """As Kube.list."""
        return [
            {
                "metadata": {
                    "name": name,
                    "namespace": "speech",
                    "uid": name,
                    "annotations": {f"modelferry.dev/{key}": value for key, value in notes.items()},
                },
                "status": {"phase": "Running", "podIP": "10.0.0.1"},
            }
            for name, notes in self.pods.items()
        ]

    async def merge(self, kind: str, name: str, patch: dict[str, Any], namespace: str = "") -> bool:
        """As Kube.merge."""
        for key, value in patch["metadata"]["annotations"].items():
            self.pods[name][key.removeprefix("modelferry.dev/")] = value
        return True

    async def progress(self, pod: PodFacts) -> Progress | None:
        """As SidecarClient.progress."""
        return Progress("fetching", limit=self.in_use[pod.name])

    def apply_shares(self) -> None:
        """All downloads apply their shares."""
        self.in_use = {name: int(notes["share"]) for name, notes in self.pods.items()}

    @property
    def shares(self) -> dict[str, int]:
        """The shares in the annotations."""
        return {name: int(notes["share"]) for name, notes in self.pods.items()}


async def test_downloads_share_the_clusters_bandwidth_as_they_start_and_end() -> None:
    cluster = Cluster(a="{}", b='{"bandwidth":"1kbit"}')
    allocator = BandwidthAllocator(cluster, cluster, SHARED, lambda: NOW)  # type: ignore[arg-type]
    await allocator.reconcile(900)
    assert cluster.shares == {"a": 775, "b": 125}
    cluster.apply_shares()
    cluster.pods["c"], cluster.in_use["c"] = {"limits": "{}", "share": "0"}, 0
    await allocator.reconcile(900)
    assert cluster.shares == {"a": 387, "b": 125, "c": 0}
    cluster.apply_shares()
    await allocator.reconcile(900)
    assert cluster.shares == {"a": 387, "b": 125, "c": 388}
    cluster.apply_shares()
    del cluster.pods["a"]
    await allocator.reconcile(900)
    assert cluster.shares == {"b": 125, "c": 775}


async def test_one_that_does_not_answer_counts_with_what_it_last_reported() -> None:
    cluster = Cluster(a="{}")
    allocator = BandwidthAllocator(cluster, cluster, SHARED, lambda: NOW)  # type: ignore[arg-type]
    await allocator.reconcile(900)
    cluster.apply_shares()
    await allocator.reconcile(900)
    cluster.pods["b"], cluster.in_use = {"limits": "{}", "share": "0"}, {"a": None, "b": 0}
    for _ in range(3):
        await allocator.reconcile(900)
    assert cluster.shares == {"a": 450, "b": 0}
