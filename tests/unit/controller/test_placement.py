"""Which nodes get the model."""

from __future__ import annotations

import pytest

from modelferry.controller.facts import Taint
from modelferry.controller.placement import blocked_reason, is_selected, tolerated
from modelferry.resource.spec import Nodes, Toleration
from unit.controller.objects import node

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
def test_a_toleration_matches_as_the_scheduler_says(toleration: Toleration, matches: bool) -> None:
    assert tolerated(GPU, (toleration,)) is matches


def test_a_taint_that_only_prefers_keeps_nobody_away() -> None:
    assert tolerated(Taint("busy", "", "PreferNoSchedule"), ())


def test_a_node_is_chosen_by_all_labels_of_the_selector() -> None:
    spec = Nodes((("gpu", "true"), ("zone", "a")))
    assert is_selected(node("n", {"gpu": "true", "zone": "a", "more": "x"}), spec)
    assert not is_selected(node("n", {"gpu": "true"}), spec)


def test_a_passing_taint_blocks_a_chosen_node_and_a_lasting_one_unchooses_it() -> None:
    full = Taint("node.kubernetes.io/disk-pressure", "", "NoSchedule")
    assert is_selected(node("n", taints=(full,)), Nodes())
    assert "disk-pressure" in blocked_reason(node("n", taints=(full,)), Nodes())
    assert not is_selected(node("n", taints=(GPU,)), Nodes())
    assert blocked_reason(node("n", taints=(GPU,)), Nodes((), (Toleration("gpu", "Exists"),))) == ""


def test_a_node_whose_kubelet_is_silent_is_blocked() -> None:
    assert blocked_reason(node("n", ready=False), Nodes()) == "the node is not ready"
