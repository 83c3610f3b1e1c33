"""Changed limits reach the running downloads in annotations, without new pods."""

from __future__ import annotations

import json
from dataclasses import replace
from typing import Any

from modelferry.controller.actions import AnnotatePod, Create
from modelferry.controller.artifact_events import plan_events
from modelferry.controller.children import config_maps, pods
from modelferry.controller.facts import Observed, PodFacts
from modelferry.controller.plan import plan
from modelferry.controller.step_result import Plan
from modelferry.messages import Progress
from modelferry.resource import names
from unit.controller.objects import MANIFEST, NOW, SETTINGS, document, node, observed

LIMITED = {"bandwidth": "40Mbit"}
SHARED = replace(SETTINGS, bandwidth=900)


def with_transfer(transfer: dict[str, Any], *running: PodFacts) -> Observed:
    """The artifact with this transfer, its manifest known."""
    found = observed(document({"transfer": transfer}))
    return replace(found, pods=running, manifest=MANIFEST)


def fetching(of: Observed, **fields: Any) -> PodFacts:
    """A download on node-0 that works by the input of `of`, with its limits."""
    key, limits = of.artifact.input_key, pods.limits_annotation(of.artifact)
    base = PodFacts("f", "speech", "u", "fetch", "node-0", key, 1, "Running", limits=limits)
    return replace(base, **fields)


def annotated(made: Plan) -> list[AnnotatePod]:
    return [action for action in made.actions if isinstance(action, AnnotatePod)]


def test_a_changed_limit_is_written_to_the_running_pod_and_makes_no_new_one() -> None:
    before = with_transfer(LIMITED)
    after = with_transfer({"bandwidth": "80Mbit"}, fetching(before))
    made = plan(after, SETTINGS, NOW)
    assert annotated(made) == [AnnotatePod("speech", "f", names.ANNOTATION_LIMITS, '{"bandwidth":"80Mbit"}')]
    assert not [
        action for action in made.actions if isinstance(action, Create) and action.body["metadata"].get("name") == "f"
    ]
    assert config_maps.input_name(before.artifact) == config_maps.input_name(after.artifact)
    assert [event.reason for event in plan_events(after, made, NOW)] == ["LimitChanged"]


def test_a_mirrors_changed_limit_reaches_the_running_pod_too() -> None:
    def limited(rate: str, *running: PodFacts) -> Observed:
        mirrors = [{"name": "lab", "url": "https://lab/{path}", "bandwidth": rate}]
        return replace(observed(document({"mirrors": mirrors})), pods=running, manifest=MANIFEST)

    before = limited("1MB")
    after = limited("2MB", fetching(before))
    assert annotated(plan(after, SETTINGS, NOW)) == [
        AnnotatePod("speech", "f", names.ANNOTATION_LIMITS, '{"mirrors":{"lab":"2MB"}}')
    ]
    assert config_maps.input_name(before.artifact) == config_maps.input_name(after.artifact)
    assert "bandwidth" not in config_maps.input_map(after.artifact, SETTINGS)["data"][config_maps.ARTIFACT_KEY]


def test_an_unchanged_limit_is_not_written_again() -> None:
    assert annotated(plan(with_transfer(LIMITED, fetching(with_transfer(LIMITED))), SETTINGS, NOW)) == []


def test_an_ended_or_terminating_pod_is_not_annotated() -> None:
    old = with_transfer(LIMITED)
    for gone in (fetching(old, deleting=True), fetching(old, finished=NOW)):
        assert annotated(plan(with_transfer({"bandwidth": "80Mbit"}, gone), SETTINGS, NOW)) == []


def test_another_number_of_connections_still_makes_new_pods() -> None:
    four, eight = with_transfer({"connections": 4}), with_transfer({"connections": 8})
    assert four.artifact.input_key != eight.artifact.input_key


def test_the_pods_input_holds_no_limits() -> None:
    spec = json.loads(
        config_maps.input_map(with_transfer(LIMITED | {"connections": 4}).artifact, SETTINGS)["data"][
            config_maps.ARTIFACT_KEY
        ]
    )["spec"]
    assert spec["transfer"] == {"connections": 4}


def test_a_pod_mounts_its_limits_as_files() -> None:
    pod = pods.fetch_pod(with_transfer(LIMITED).artifact, SETTINGS, "node-0", 1)
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


def test_a_pods_network_interface_is_limited_in_bits() -> None:
    pod = pods.fetch_pod(with_transfer({"podNetworkBandwidth": "80Mbit"}).artifact, SETTINGS, "node-0", 1)
    assert pod["metadata"]["annotations"]["kubernetes.io/ingress-bandwidth"] == "80000000"


def test_if_the_clusters_bandwidth_is_allocated_a_pod_starts_with_a_share_of_0() -> None:
    pod = pods.fetch_pod(with_transfer({}).artifact, SHARED, "node-0", 1)
    assert pod["metadata"]["annotations"][names.ANNOTATION_SHARE] == "0"


def test_if_it_is_no_longer_allocated_the_shares_are_removed() -> None:
    made = plan(with_transfer({}, fetching(with_transfer({}), share="100")), SETTINGS, NOW)
    assert annotated(made) == [AnnotatePod("speech", "f", names.ANNOTATION_SHARE, None)]


def test_a_pause_is_reconciling_and_not_stalled() -> None:
    found = with_transfer({}, fetching(with_transfer({})))
    note = "until 18:00 (window Mon-Fri 08:00-18:00 Europe/Berlin)"
    paused = Progress("paused", total=1000, limit=0, message=note)
    made = plan(replace(found, nodes=(node("node-0"),), progress={"f": paused}), SETTINGS, NOW)
    (state,) = made.copies
    assert (state.state, state.reason, state.message, state.limit) == ("Paused", "Paused", note, 0)
