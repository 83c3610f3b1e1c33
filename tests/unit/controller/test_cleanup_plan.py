"""What is deleted, and what stays, when artifacts are deleted without the operator."""

from __future__ import annotations

from typing import Any

from modelferry.controller.actions import Delete, LabelNode
from modelferry.controller.children import config_maps, volumes
from modelferry.controller.children.pods import helper_pod
from modelferry.controller.cleanup_plan import OWNED_KINDS, Directory, plan_cleanup
from modelferry.controller.settings import Settings
from modelferry.resource import KIND, names
from unit.controller.objects import MANIFEST, SETTINGS, document, observed

Objects = dict[str, list[dict[str, Any]]]


def cluster(settings: Settings = SETTINGS) -> Objects:
    """An artifact on two nodes with all its objects, and foreign labels on the nodes."""
    artifact = observed().artifact
    labels = {names.copy_label("speech", "chattts"): "boot", "kubernetes.io/hostname": "node"}
    ready = {names.ready_label("speech", "chattts"): "abc123"}
    return {
        KIND: [document()],
        "Pod": [helper_pod(artifact, settings, "prepare", "node-0", 1)],
        "PersistentVolumeClaim": [volumes.reader_claim(artifact, MANIFEST), volumes.writer_claim(artifact, MANIFEST)],
        "ConfigMap": [config_maps.input_map(artifact, settings)],
        "PersistentVolume": [
            volumes.reader_volume(artifact, settings, MANIFEST),
            volumes.writer_volume(artifact, settings, MANIFEST),
        ],
        "Node": [
            {"metadata": {"name": "node-0", "labels": labels | ready}},
            {"metadata": {"name": "node-1", "labels": labels}},
            {"metadata": {"name": "node-2", "labels": {"modelferry.dev/pool": "yes"}}},
        ],
    }


def test_all_objects_of_the_artifacts_are_deleted_and_the_node_labels_last() -> None:
    plan = plan_cleanup(cluster())
    assert [(one.namespace, one.name) for one in plan.artifacts] == [("speech", "chattts")]
    deleted = [(action.kind, action.namespace) for action in plan.actions if isinstance(action, Delete)]
    assert deleted == [
        ("Pod", "modelferry-system"),
        ("PersistentVolumeClaim", "speech"),
        ("PersistentVolumeClaim", "speech"),
        ("ConfigMap", "speech"),
        ("PersistentVolume", ""),
        ("PersistentVolume", ""),
    ]
    copy, ready = names.copy_label("speech", "chattts"), names.ready_label("speech", "chattts")
    assert plan.actions[len(deleted) :] == (
        LabelNode("node-0", names.CHECKED_LABEL, None),
        LabelNode("node-1", names.CHECKED_LABEL, None),
        LabelNode("node-0", copy, None),
        LabelNode("node-0", ready, None),
        LabelNode("node-1", copy, None),
    )


def test_the_directories_that_stay_are_named_with_the_charts_root() -> None:
    plan = plan_cleanup(cluster(Settings("modelferry-system", "image", node_root="/data/models")))
    assert plan.directories == (
        Directory("node-0", "/data/models/speech/chattts"),
        Directory("node-1", "/data/models/speech/chattts"),
    )


def test_another_run_finds_what_an_interrupted_one_left() -> None:
    left = cluster() | {KIND: []} | {kind: [] for kind in OWNED_KINDS}
    plan = plan_cleanup(left)
    assert not plan.artifacts
    assert plan.directories[0] == Directory("node-0", "/var/lib/modelferry/speech/chattts")
    assert len(plan.actions) == 5


def test_only_the_given_namespace_is_cleaned() -> None:
    plan = plan_cleanup(cluster(), "music")
    assert (plan.artifacts, plan.actions, plan.directories) == ((), (), ())
    assert plan_cleanup(cluster(), "speech") == plan_cleanup(cluster())


def test_objects_of_others_with_the_same_manager_label_are_left() -> None:
    foreign = {"metadata": {"name": "own", "namespace": "speech", "labels": dict([names.MANAGED_BY])}}
    plan = plan_cleanup({kind: [] for kind in (*OWNED_KINDS, KIND, "Node")} | {"ConfigMap": [foreign]})
    assert plan.actions == ()
