"""Limits on their way to the downloads that run: in annotations, without new pods."""

from __future__ import annotations

import json
from dataclasses import replace
from typing import Any

from modelferry.controller.actions import Annotate, Create
from modelferry.controller.bandwidth_allocator import BandwidthAllocator
from modelferry.controller.children import config_maps, pods
from modelferry.controller.facts import Observed, PodFacts
from modelferry.controller.plan import plan
from modelferry.controller.states import Plan
from modelferry.messages import Progress
from modelferry.resource import names
from unit.controller.objects import MANIFEST, NOW, SETTINGS, document, node, observed

LIMITED = {"bandwidth": "40Mbit"}
SHARED = replace(SETTINGS, bandwidth=900)


def seen(transfer: dict[str, Any], *running: PodFacts) -> Observed:
    """The artifact with this transfer, its manifest known."""
    found = observed(document({"transfer": transfer}))
    return replace(found, pods=running, manifest=MANIFEST)


def fetching(of: Observed, **fields: Any) -> PodFacts:
    """A download on node-0 that works by the input of `of`, with its limits."""
    key, limits = config_maps.input_key(of, SETTINGS), pods.limits_of(of)
    base = PodFacts("f", "speech", "u", "fetch", "node-0", key, 1, "Running", limits=limits)
    return replace(base, **fields)


def annotated(made: Plan) -> list[Annotate]:
    return [action for action in made.actions if isinstance(action, Annotate)]


def test_a_changed_limit_is_written_to_the_pod_that_runs_and_makes_no_other_one() -> None:
    before = seen(LIMITED)
    after = seen({"bandwidth": "80Mbit"}, fetching(before))
    made = plan(after, SETTINGS, NOW)
    assert annotated(made) == [Annotate("speech", "f", names.ANNOTATION_LIMITS, '{"bandwidth":"80Mbit"}')]
    assert not [
        action for action in made.actions if isinstance(action, Create) and action.body["metadata"].get("name") == "f"
    ]
    assert config_maps.input_name(before, SETTINGS) == config_maps.input_name(after, SETTINGS)
    assert [notice.reason for notice in made.notices] == ["LimitChanged"]


def test_a_mirrors_changed_limit_reaches_the_pod_that_runs_too() -> None:
    def limited(rate: str, *running: PodFacts) -> Observed:
        mirrors = [{"name": "lab", "url": "https://lab/{path}", "bandwidth": rate}]
        return replace(observed(document({"mirrors": mirrors})), pods=running, manifest=MANIFEST)

    before = limited("1MB")
    after = limited("2MB", fetching(before))
    assert annotated(plan(after, SETTINGS, NOW)) == [
        Annotate("speech", "f", names.ANNOTATION_LIMITS, '{"mirrors":{"lab":"2MB"}}')
    ]
    assert config_maps.input_name(before, SETTINGS) == config_maps.input_name(after, SETTINGS)
    assert "bandwidth" not in config_maps.input_map(after, SETTINGS)["data"][config_maps.ARTIFACT_KEY]


def test_an_unchanged_limit_is_not_written_again() -> None:
    assert annotated(plan(seen(LIMITED, fetching(seen(LIMITED))), SETTINGS, NOW)) == []


def test_a_pod_that_ended_or_goes_is_left_alone() -> None:
    old = seen(LIMITED)
    for gone in (fetching(old, deleting=True), fetching(old, finished=NOW)):
        assert annotated(plan(seen({"bandwidth": "80Mbit"}, gone), SETTINGS, NOW)) == []


def test_another_number_of_connections_still_makes_other_pods() -> None:
    assert config_maps.input_key(seen({"connections": 4}), SETTINGS) != config_maps.input_key(
        seen({"connections": 8}), SETTINGS
    )


def test_the_pods_input_holds_no_limits() -> None:
    spec = json.loads(
        config_maps.input_map(seen(LIMITED | {"connections": 4}), SETTINGS)["data"][config_maps.ARTIFACT_KEY]
    )["spec"]
    assert spec["transfer"] == {"connections": 4}


def test_a_pod_shows_its_limits_to_fetch_as_files() -> None:
    pod = pods.fetch_pod(seen(LIMITED), SETTINGS, "node-0", 1)
    assert pod["metadata"]["annotations"][names.ANNOTATION_LIMITS] == '{"bandwidth":"40Mbit"}'
    assert names.ANNOTATION_SHARE not in pod["metadata"]["annotations"]
    (volume,) = [volume for volume in pod["spec"]["volumes"] if volume["name"] == "limits"]
    shown = {item["path"]: item["fieldRef"]["fieldPath"] for item in volume["downwardAPI"]["items"]}
    assert shown == {
        "limits": "metadata.annotations['modelferry.dev/limits']",
        "share": "metadata.annotations['modelferry.dev/share']",
    }
    (fetch,) = pod["spec"]["containers"]
    (mounted,) = [mount["mountPath"] for mount in fetch["volumeMounts"] if mount["name"] == "limits"]
    assert fetch["args"][fetch["args"].index("--limits") + 1] == mounted


def test_a_pods_link_is_limited_in_bits() -> None:
    pod = pods.fetch_pod(seen({"podNetworkBandwidth": "80Mbit"}), SETTINGS, "node-0", 1)
    assert pod["metadata"]["annotations"]["kubernetes.io/ingress-bandwidth"] == "80000000"


def test_where_the_clusters_bandwidth_is_shared_a_pod_begins_with_none_of_it() -> None:
    pod = pods.fetch_pod(seen({}), SHARED, "node-0", 1)
    assert pod["metadata"]["annotations"][names.ANNOTATION_SHARE] == "0"


def test_where_it_is_no_longer_shared_the_shares_go() -> None:
    made = plan(seen({}, fetching(seen({}), share="100")), SETTINGS, NOW)
    assert annotated(made) == [Annotate("speech", "f", names.ANNOTATION_SHARE, None)]


def test_a_pause_is_reconciling_and_not_stalled() -> None:
    found = seen({}, fetching(seen({})))
    note = "until 18:00 (window Mon-Fri 08:00-18:00 Europe/Berlin)"
    paused = Progress("paused", total=1000, limit=0, message=note)
    made = plan(replace(found, nodes=(node("node-0"),), progress={"f": paused}), SETTINGS, NOW)
    (state,) = made.states
    assert (state.state, state.reason, state.message, state.limit) == ("Paused", "Paused", note, 0)


class Cluster:
    """Download pods that hear of their share when the test says so."""

    def __init__(self, **limits: str) -> None:
        self.pods = {name: {"limits": text, "share": "0"} for name, text in limits.items()}
        self.used: dict[str, int | None] = dict.fromkeys(limits, 0)

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

    async def ask(self, pod: PodFacts) -> Progress | None:
        """As Observer.ask."""
        return Progress("fetching", limit=self.used[pod.name])

    def hear(self) -> None:
        """All take up their shares."""
        self.used = {name: int(notes["share"]) for name, notes in self.pods.items()}

    @property
    def shares(self) -> dict[str, int]:
        """As they stand in the annotations."""
        return {name: int(notes["share"]) for name, notes in self.pods.items()}


async def test_downloads_share_the_clusters_bandwidth_as_they_come_and_go() -> None:
    cluster = Cluster(a="{}", b='{"bandwidth":"1kbit"}')
    sharing = BandwidthAllocator(cluster, cluster, SHARED, lambda: NOW)  # type: ignore[arg-type]
    await sharing.look(900)
    assert cluster.shares == {"a": 775, "b": 125}
    cluster.hear()
    cluster.pods["c"], cluster.used["c"] = {"limits": "{}", "share": "0"}, 0
    await sharing.look(900)
    assert cluster.shares == {"a": 387, "b": 125, "c": 0}
    cluster.hear()
    await sharing.look(900)
    assert cluster.shares == {"a": 387, "b": 125, "c": 388}
    cluster.hear()
    del cluster.pods["a"]
    await sharing.look(900)
    assert cluster.shares == {"b": 125, "c": 775}


async def test_one_that_is_silent_counts_with_what_it_last_said() -> None:
    cluster = Cluster(a="{}")
    sharing = BandwidthAllocator(cluster, cluster, SHARED, lambda: NOW)  # type: ignore[arg-type]
    await sharing.look(900)
    cluster.hear()
    await sharing.look(900)
    cluster.pods["b"], cluster.used = {"limits": "{}", "share": "0"}, {"a": None, "b": 0}
    for _ in range(3):
        await sharing.look(900)
    assert cluster.shares == {"a": 450, "b": 0}
