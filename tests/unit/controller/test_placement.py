"""Which nodes get the model."""

from __future__ import annotations

from dataclasses import replace

import pytest

from modelferry.controller.facts import PodFacts, Taint
from modelferry.controller.placement import blocked_reason, is_selected, may_start_download, tolerated
from modelferry.manifest import Manifest
from modelferry.messages import Outcome
from modelferry.resource import names
from modelferry.resource.spec import Nodes, Toleration
from unit.controller.objects import MANIFEST, died, document, done, node, observed, pod

GPU = Taint("gpu", "a100", "NoSchedule")


@pytest.mark.parametrize(
    ("toleration", "matches"),
    [
        (Toleration(operator="Exists"), True),
        (Toleration("gpu", "Exists"), True),
        (Toleration("gpu", "Equal", "a100"), True),
        (Toleration("gpu", "Equal", "h100"), False),
        (Toleration("gpu", "Exists", effect="NoExecute"), False),
        (Toleration("cpu", "Exists"), False),
        (Toleration("", "Equal", "a100"), False),
    ],
)
def test_a_toleration_matches_as_in_the_scheduler(toleration: Toleration, matches: bool) -> None:
    assert tolerated(GPU, (toleration,)) is matches


def test_prefer_no_schedule_is_always_tolerated() -> None:
    assert tolerated(Taint("busy", "", "PreferNoSchedule"), ())


def test_a_node_is_selected_by_all_labels_of_the_selector() -> None:
    spec = Nodes((("gpu", "true"), ("zone", "a")))
    assert is_selected(node("n", {"gpu": "true", "zone": "a", "more": "x"}), spec)
    assert not is_selected(node("n", {"gpu": "true"}), spec)


def test_a_temporary_taint_blocks_a_selected_node_and_a_permanent_one_deselects_it() -> None:
    full = Taint("node.kubernetes.io/disk-pressure", "", "NoSchedule")
    assert is_selected(node("n", taints=(full,)), Nodes())
    assert "disk-pressure" in blocked_reason(node("n", taints=(full,)), Nodes())
    assert not is_selected(node("n", taints=(GPU,)), Nodes())
    assert blocked_reason(node("n", taints=(GPU,)), Nodes((), (Toleration("gpu", "Exists"),))) == ""


def test_a_node_that_is_not_ready_is_blocked() -> None:
    assert blocked_reason(node("n", ready=False), Nodes()) == "the node is not ready"


def test_consumers_matter_whenever_the_next_plan_may_start_a_download() -> None:
    key = observed().artifact.input_key
    settled = {names.ready_label("speech", "chattts"): MANIFEST.revision, names.copy_label("speech", "chattts"): ""}
    failed = pod("fetch", "n", key=key, **done(Outcome(False, "UnknownHost", "stalled")))
    artifact = observed().artifact

    def matters(labels: dict[str, str], *pods: PodFacts, manifest: Manifest | None = MANIFEST) -> bool:
        return may_start_download(artifact, [node("n", labels)], pods, manifest)

    assert matters({})
    assert matters({}, failed)
    assert matters({}, pod("fetch", "n", key=key, phase="Failed", death=died("fetch-n"))), "evicted before it started"
    assert matters(settled | {names.copy_label("speech", "chattts"): "last boot"})
    assert not matters(settled)
    assert not matters({}, manifest=None)
    assert not matters({}, pod("fetch", "n", key=key))
    assert not matters({}, pod("fetch", "n", key="of an earlier spec", deleting=True))
    assert not matters({}, replace(failed, outcome=Outcome(False, "DigestMismatch", "stalled")))


def test_consumers_of_a_claim_matter_until_a_download_runs() -> None:
    artifact = observed(document({"storage": {"claim": {"name": "models"}}})).artifact
    assert may_start_download(artifact, [], [], MANIFEST)
    assert not may_start_download(artifact, [], [pod("fetch", "", key=artifact.input_key)], MANIFEST)


def test_a_cordoned_node_stays_selected_and_the_message_has_the_remedy() -> None:
    """helm/helm#10722: nobody knew why the release waited."""
    cordoned = node("n", taints=(Taint("node.kubernetes.io/unschedulable", "", "NoSchedule"),))
    assert is_selected(cordoned, Nodes())
    assert blocked_reason(cordoned, Nodes()) == (
        "the node is cordoned: run kubectl uncordon n, or lower spec.nodes.minReady"
    )
    everywhere = Nodes((), (Toleration("node.kubernetes.io/unschedulable", "Exists"),))
    assert blocked_reason(cordoned, everywhere) == ""
