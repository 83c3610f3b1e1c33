"""What is done about the directories on a node, by what exists."""

from __future__ import annotations

from dataclasses import replace
from itertools import pairwise
from typing import Any

import pytest

from modelferry.controller.actions import Create, Delete, LabelNode
from modelferry.controller.children import pods
from modelferry.controller.facts import PodFacts
from modelferry.controller.orphan_cleanup import NodeState, plan_cleanup
from modelferry.messages import Outcome
from modelferry.messages.owned_directories import OwnedDirectory
from modelferry.resource import names
from unit.controller.objects import NOW, SETTINGS, done, node, observed, pod

CLEANING = replace(SETTINGS, cluster="c-1", orphans_after=600.0)
CHECKED = LabelNode("node-0", names.CHECKED_LABEL, "true")
COPY = names.copy_label("speech", "chattts")
CHATTTS, WHISPER = OwnedDirectory("speech", "chattts", "u-1"), OwnedDirectory("speech", "whisper", "u-2")


def listing(**fields: Any) -> PodFacts:
    """A pod that lists the directories, and has done so."""
    return pod(pods.ORPHANS, "node-0", **(done(Outcome(True)) | fields))


def state(*listed: OwnedDirectory, **fields: Any) -> NodeState:
    """A node whose pod has listed some directories, where only the artifact CHATTTS exists."""
    base: dict[str, Any] = {"node": node("node-0"), "age": 700.0, "pods": (listing(),), "directories": listed}
    return NodeState(**(base | {"artifacts": {"u-1": ("speech", "chattts")}} | fields))


def removals(found: NodeState) -> list[str]:
    """What the next pod removes."""
    bodies = [action.body for action in plan_cleanup(found, CLEANING, NOW).actions if isinstance(action, Create)]
    words = [word for body in bodies for word in body["spec"]["containers"][0]["args"]]
    return [after for word, after in pairwise(words) if word == "--remove"]


def test_a_new_node_gets_a_pod_that_lists_its_directories_and_removes_nothing() -> None:
    """rancher/local-path-provisioner#533: a node that was away when an artifact was deleted kept its directory."""
    made = plan_cleanup(state(pods=(), directories=None), CLEANING, NOW)
    (action,) = made.actions
    assert isinstance(action, Create)
    assert action.body["spec"]["nodeName"] == "node-0"
    assert action.body["metadata"]["namespace"] == SETTINGS.namespace
    assert "c-1" in action.body["spec"]["containers"][0]["args"]
    assert removals(state(pods=(), directories=None)) == []


@pytest.mark.parametrize(
    ("fields", "requeue"),
    [({"age": 590.0}, 10.0), ({"age": 599.0}, 5.0), ({"node": node("node-0", ready=False)}, 60.0), ({"busy": 5}, 5.0)],
    ids=["young", "nearly old enough", "not ready", "others first"],
)
def test_a_pod_waits_for_the_nodes_labels_and_for_other_nodes(fields: dict[str, Any], requeue: float) -> None:
    made = plan_cleanup(state(pods=(), directories=None, **fields), CLEANING, NOW)
    assert (made.actions, made.requeue_after) == ((), requeue)


def test_the_directory_of_a_deleted_artifact_is_removed_by_its_uid_and_no_other() -> None:
    assert removals(state(WHISPER, CHATTTS)) == ["speech/whisper/u-2"]
    assert CHECKED not in plan_cleanup(state(WHISPER, CHATTTS), CLEANING, NOW).actions


def test_an_artifact_with_the_name_of_a_deleted_one_does_not_own_its_directory() -> None:
    assert removals(state(replace(CHATTTS, uid="u-0"))) == ["speech/chattts/u-0"]


def test_one_pod_removes_at_most_fifty_directories() -> None:
    assert len(removals(state(*(OwnedDirectory("speech", f"m-{n}", f"gone-{n}") for n in range(60))))) == 50


def test_the_directory_of_an_existing_artifact_gets_its_label_again_and_the_artifact_decides() -> None:
    made = plan_cleanup(state(CHATTTS), CLEANING, NOW)
    assert made.actions[:2] == (LabelNode("node-0", COPY, ""), CHECKED)
    assert made.requeue_after is None


def test_a_label_that_is_there_is_not_changed() -> None:
    made = plan_cleanup(state(CHATTTS, node=node("node-0", {COPY: "boot"})), CLEANING, NOW)
    assert [action for action in made.actions if isinstance(action, LabelNode)] == [CHECKED]


def test_a_checked_node_loses_its_pods_and_is_done() -> None:
    made = plan_cleanup(state(node=node("node-0", {names.CHECKED_LABEL: "true"}), directories=None), CLEANING, NOW)
    assert [type(action) for action in made.actions] == [Delete]
    assert made.requeue_after is None


def test_without_a_time_nothing_is_looked_for() -> None:
    assert plan_cleanup(state(pods=(), directories=None), SETTINGS, NOW).actions == ()


def test_a_log_that_cannot_be_read_is_read_again_and_then_written_by_another_pod() -> None:
    found = state(directories=None)
    assert plan_cleanup(found, CLEANING, NOW + 9).actions == ()
    (action,) = plan_cleanup(found, CLEANING, NOW + 10).actions
    assert isinstance(action, Create)
    assert action.body["metadata"]["annotations"][names.ANNOTATION_ATTEMPT] == "2"


def test_a_pod_that_fails_is_tried_again_later_and_lists_first() -> None:
    mounted = Outcome(False, "ForeignDirectory", "stalled", "another file system is mounted there")
    found = state(pods=(listing(**done(mounted)),), directories=None)
    assert plan_cleanup(found, CLEANING, NOW).requeue_after == 300
    assert len(plan_cleanup(found, CLEANING, NOW + 300).actions) == 1
    assert removals(found) == []


def test_a_running_pod_is_waited_for() -> None:
    made = plan_cleanup(state(pods=(pod(pods.ORPHANS, "node-0"),), directories=None), CLEANING, NOW)
    assert (made.actions, made.requeue_after) == ((), SETTINGS.resync)


def test_a_prepared_directory_is_recorded_as_the_artifacts() -> None:
    args = pods.helper_pod(observed().artifact, CLEANING, "prepare", "node-0", 1)["spec"]["containers"][0]["args"]
    assert args[-2:] == ["--owner", "c-1/u-1"]
    unknown = pods.helper_pod(observed().artifact, SETTINGS, "prepare", "node-0", 1)["spec"]["containers"][0]["args"]
    assert "--owner" not in unknown
