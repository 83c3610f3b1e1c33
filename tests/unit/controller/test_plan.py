"""The plan, step by step, in a simulated cluster: what it creates, waits for, and cleans up."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from typing import Any

import pytest

from modelferry.controller import artifact_status
from modelferry.controller.actions import Create, Delete, LabelNode, SetFinalizer
from modelferry.controller.facts import ClaimFacts, Consumer, Observed, Taint
from modelferry.controller.plan import plan
from modelferry.controller.pod_attempts import PERMANENT
from modelferry.controller.step_result import Plan
from modelferry.manifest import Manifest
from modelferry.messages import MirrorProgress, Outcome, Progress
from modelferry.messages.earlier_revisions import MountWindow
from modelferry.resource import names
from unit.controller.objects import MANIFEST, NOW, SETTINGS, World, document, node, observed

COMPLETE = Outcome(True, revision=MANIFEST.revision, bytes=1000, fetched=1000, seconds=1.0)
READY = names.ready_label("speech", "chattts")
COPY = names.copy_label("speech", "chattts")
SERVER = Consumer("server-1", MountWindow(NOW, NOW + 5))


def downloading() -> World:
    """Resolved, and a download pod runs on both nodes."""
    world = World(observed())
    world.settle()
    world.resolved()
    world.settle()
    for name in ("node-0", "node-1"):
        world.end("prepare", name, Outcome(True))
    world.settle()
    return world


def ready() -> World:
    """Both nodes have the model."""
    world = downloading()
    for name in ("node-0", "node-1"):
        world.end("fetch", name, COMPLETE)
    world.settle()
    return world


def states(found: Observed) -> dict[str, str]:
    return {copy.node: copy.state for copy in plan(found, SETTINGS, NOW).copies}


def test_the_finalizer_comes_before_anything_else() -> None:
    made = plan(observed(document(finalizers=[])), SETTINGS, NOW)
    assert made.actions == (SetFinalizer(True),)


def test_first_the_input_and_the_resolve_pod_are_created_and_nothing_on_a_node() -> None:
    world = World(observed())
    made = world.settle()
    assert [body["kind"] for body in world.created] == ["ConfigMap", "Pod"]
    assert made.blocker is not None
    assert (made.blocker.reason, made.blocker.stalled) == ("Resolving", False)


def test_the_logged_manifest_is_stored_in_an_immutable_config_map_and_the_pod_is_deleted() -> None:
    world = World(observed())
    world.settle()
    world.end("resolve", "", Outcome(True))
    world.change(logged_manifest=b"the manifest")
    world.step()
    stored = world.bodies("ConfigMap")[-1]
    assert stored["immutable"] is True
    assert stored["binaryData"] == {"manifest.json.gz": "dGhlIG1hbmlmZXN0"}
    world.resolved()
    world.step()
    assert world.observed.pods_of("resolve") == []


def test_a_resolve_pod_whose_log_cannot_be_read_is_replaced_after_a_while() -> None:
    world = World(observed())
    world.settle()
    world.end("resolve", "", Outcome(True))
    assert world.settle().requeue_after == 2
    world.settle(NOW + 2)
    assert [(pod.attempt, pod.phase) for pod in world.observed.pods_of("resolve")] == [(2, "Pending")]


def test_a_resolve_pod_that_no_node_takes_is_reported_with_the_taints_of_the_nodes() -> None:
    """kserve/kserve#5348, LLMKube#1621."""
    gpu, tolerated = Taint("nvidia.com/gpu", "", "NoSchedule"), Taint("a", "", "NoSchedule")
    spec = {"nodes": {"tolerations": [{"key": "a", "operator": "Exists"}]}}
    world = World(observed(document(spec), nodes=(node("node-0", taints=(gpu, tolerated)),)))
    world.settle()
    error = "Unschedulable: pod p: 1 node(s) had untolerated taint(s); add tolerations"
    world.change(pods=tuple(replace(pod, start_error=error) for pod in world.observed.pods))
    made = world.settle()
    assert made.blocker is not None
    assert made.blocker.message == f"{error} (the nodes have nvidia.com/gpu:NoSchedule)"


def test_a_permanent_error_of_the_source_stalls_and_is_not_retried() -> None:
    world = World(observed())
    world.settle()
    world.end("resolve", "", Outcome(False, "SizeMismatch", "stalled", "a.bin: 5 bytes declared, 6 there"))
    made = world.settle(NOW + 1e6)
    assert made.blocker is not None
    assert (made.blocker.reason, made.blocker.stalled, made.requeue_after) == ("SizeMismatch", True, None)
    assert len(world.bodies("Pod", "resolve")) == 1


def test_another_trusted_authority_resolves_again_immediately_but_keeps_a_pinned_manifest() -> None:
    world = World(observed())
    world.settle()
    world.end("resolve", "", Outcome(False, "UnknownAuthority", "stalled", "add the authority"))
    world.settle()
    trusting = replace(SETTINGS, trusted_ca="-----BEGIN CERTIFICATE-----")
    now_trusting = observed(settings=trusting).artifact
    made = plan(replace(world.observed, artifact=now_trusting), trusting, NOW)
    assert [action.kind for action in made.actions if isinstance(action, Delete)] == ["Pod"]
    settled = replace(ready().observed, artifact=now_trusting)
    assert plan(settled, trusting, NOW).blocker is None
    assert {state.state for state in plan(settled, trusting, NOW).copies} == {"Ready"}


def test_a_missing_file_stalls_and_is_requested_again_after_five_minutes() -> None:
    world = World(observed())
    world.settle()
    world.end("resolve", "", Outcome(False, "NotFound", "stalled", "404"))
    assert world.settle().requeue_after == 300
    world.settle(NOW + 301)
    assert len(world.bodies("Pod", "resolve")) == 2


def test_each_volume_is_created_before_its_claim() -> None:
    world = downloading()
    order = [body["metadata"]["name"] for body in world.created if body["kind"].startswith("PersistentVolume")]
    for side, claim in (("writer", "chattts-modelferry-writer"), ("reader", "chattts")):
        assert order.index(names.volume("speech", "chattts", side)) < order.index(claim)


def test_a_node_gets_the_copy_label_before_its_directory_is_created() -> None:
    world = World(observed())
    world.settle()
    world.resolved()
    made = world.step()
    labels = [i for i, action in enumerate(made.actions) if isinstance(action, LabelNode) and action.key == COPY]
    helpers = [
        i for i, a in enumerate(made.actions) if isinstance(a, Create) and "prepare" in a.body["metadata"]["name"]
    ]
    assert len(labels) == len(helpers) == 2
    assert all(label < helper for label, helper in zip(labels, helpers, strict=True))


def test_no_download_starts_before_the_directory_exists() -> None:
    world = World(observed())
    world.settle()
    world.resolved()
    world.settle()
    assert world.bodies("Pod", "fetch") == []
    world.end("prepare", "node-0", Outcome(True))
    world.settle()
    assert [pod.node for pod in world.observed.pods_of("fetch")] == ["node-0"]


def test_a_verified_copy_labels_its_node_and_its_pods_are_deleted() -> None:
    world = downloading()
    world.end("fetch", "node-0", COMPLETE)
    made = world.step()
    assert LabelNode("node-0", READY, MANIFEST.revision) in made.actions
    assert [event.reason for event in world.events] == ["NodeReady"]
    world.settle()
    assert {pod.node for pod in world.observed.pods} == {"node-1"}
    assert states(world.observed) == {"node-0": "Ready", "node-1": "Waiting"}


def test_a_settled_artifact_needs_no_action() -> None:
    world = ready()
    made = world.step()
    assert world.events == []
    assert (made.actions, made.blocker, made.requeue_after) == ((), None, None)


def test_the_sidecars_progress_is_the_nodes_state() -> None:
    world = downloading()
    name = world.observed.pods_of("fetch", "node-0")[0].name
    for phase, state in (("fetching", "Downloading"), ("verifying", "Verifying"), ("repairing", "Repairing")):
        world.change(progress={name: Progress(phase, total=1000, done=400, speed=50.0, eta=12.0)})
        found = next(s for s in plan(world.observed, SETTINGS, NOW).copies if s.node == "node-0")
        assert (found.state, found.done, found.speed, found.eta) == (state, 400, 50.0, 12.0)


def test_a_killed_download_is_retried_after_two_seconds_and_the_old_pod_is_deleted() -> None:
    world = downloading()
    world.end("fetch", "node-0", None)
    assert world.settle().requeue_after == 2
    assert states(world.observed)["node-0"] == "Retrying"
    world.settle(NOW + 2)
    pods = world.observed.pods_of("fetch", "node-0")
    assert [pod.attempt for pod in pods] == [2]


def test_a_wrong_digest_stalls_only_its_node_and_is_never_retried() -> None:
    world = downloading()
    assert "DigestMismatch" in PERMANENT
    world.end("fetch", "node-0", Outcome(False, "DigestMismatch", "stalled", "a.bin: expected …, got …"))
    world.end("fetch", "node-1", COMPLETE)
    world.settle(NOW + 1e9)
    assert states(world.observed) == {"node-0": "Stalled", "node-1": "Ready"}
    assert READY not in world.observed.nodes[0].labels


def test_a_changed_spec_replaces_a_download_and_forgets_the_failure() -> None:
    world = downloading()
    world.end("fetch", "node-0", Outcome(False, "DigestMismatch", "stalled", "…"))
    world.settle()
    body = document({"transfer": {"connections": 4}})
    world.change(artifact=observed(body).artifact)
    world.resolved()
    world.settle()
    pods = world.observed.pods_of("fetch")
    assert [(pod.node, pod.attempt, pod.phase) for pod in sorted(pods, key=lambda p: p.node)] == [
        ("node-0", 1, "Pending"),
        ("node-1", 1, "Pending"),
    ]


def test_more_connections_do_not_download_a_settled_model_again() -> None:
    world = ready()
    body = document({"transfer": {"connections": 4}})
    world.observed = replace(world.observed, artifact=observed(body).artifact)
    world.settle()
    assert states(world.observed) == {"node-0": "Ready", "node-1": "Ready"}
    assert world.observed.pods_of("fetch") == []


def test_another_revision_is_fetched_while_the_old_label_stays() -> None:
    world = ready()
    world.change(manifest=Manifest("def456", MANIFEST.files))
    world.settle()
    for name in ("node-0", "node-1"):
        world.end("prepare", name, Outcome(True))
    world.settle()
    assert [n.labels[READY] for n in world.observed.nodes] == ["abc123", "abc123"]
    assert len(world.observed.pods_of("fetch")) == 2


def rebooted(world: World) -> World:
    """node-1 rebooted."""
    world.change(nodes=(world.observed.nodes[0], replace(world.observed.nodes[1], boot="boot-2")))
    return world


def test_after_a_reboot_a_copy_is_verified_again_while_its_label_stays() -> None:
    world = rebooted(ready())
    world.settle()
    world.end("prepare", "node-1", Outcome(True))
    world.settle()
    assert [pod.node for pod in world.observed.pods_of("fetch")] == ["node-1"]
    assert world.observed.nodes[1].labels[READY] == MANIFEST.revision
    world.end("fetch", "node-1", COMPLETE)
    world.settle()
    assert world.observed.nodes[1].labels[COPY] == "boot-2"
    assert world.observed.pods == ()


def test_a_download_that_ended_before_the_last_boot_proves_nothing() -> None:
    """The operator was on the same node, and saw the pod's end and the new boot at once."""
    world = downloading()
    world.end("fetch", "node-1", COMPLETE)
    rebooted(world)
    world.settle()
    assert READY not in world.observed.nodes[1].labels
    assert states(world.observed)["node-1"] != "Ready"
    assert world.observed.pods_of("fetch", "node-1") == []
    assert [pod.outcome for pod in world.observed.pods_of("prepare", "node-1")] == [None], "its directory may be lost"


def test_another_layout_is_made_by_a_download_pod_while_the_ready_label_stays() -> None:
    world = ready()
    artifact = world.observed.artifact
    world.change(artifact=replace(artifact, spec=replace(artifact.valid_spec, layout="both")))
    world.settle()
    for name in ("node-0", "node-1"):
        world.end("prepare", name, Outcome(True))
    world.settle()
    assert [pod.node for pod in world.observed.pods_of("fetch")] == ["node-0", "node-1"]
    assert [node.labels[READY] for node in world.observed.nodes] == [MANIFEST.revision] * 2
    for name in ("node-0", "node-1"):
        world.end("fetch", name, COMPLETE)
    world.settle()
    assert [node.labels[COPY].rpartition("-")[2] for node in world.observed.nodes] == ["both", "both"]
    assert world.observed.pods == ()


def test_a_damaged_copy_loses_its_label_as_soon_as_bytes_are_fetched_again() -> None:
    world = rebooted(ready())
    world.settle()
    world.end("prepare", "node-1", Outcome(True))
    world.settle()
    name = world.observed.pods_of("fetch", "node-1")[0].name
    world.change(progress={name: Progress("recovering", total=1000)})
    world.step()
    assert world.observed.nodes[1].labels[READY] == MANIFEST.revision
    world.change(progress={name: Progress("fetching", total=1000)})
    world.step()
    assert READY not in world.observed.nodes[1].labels
    assert states(world.observed)["node-1"] == "Downloading"


def test_a_labelled_node_that_is_down_still_counts_as_ready() -> None:
    world = ready()
    world.change(nodes=(world.observed.nodes[0], replace(world.observed.nodes[1], ready=False, boot="boot-2")))
    made = world.settle()
    assert {state.state for state in made.copies} == {"Ready"}


def test_a_new_node_gets_the_model() -> None:
    world = ready()
    world.change(nodes=(*world.observed.nodes, node("node-2")))
    world.settle()
    assert states(world.observed)["node-2"] == "Preparing"
    assert READY not in world.observed.nodes[2].labels


def test_a_node_that_is_gone_is_dropped_and_its_pods_are_deleted_immediately() -> None:
    world = downloading()
    world.change(nodes=world.observed.nodes[:1])
    made = plan(world.observed, SETTINGS, NOW)
    drops = [action for action in made.actions if isinstance(action, Delete)]
    assert all(action.grace == 0 for action in drops)
    assert {action.name for action in drops} == {pod.name for pod in world.observed.pods if pod.node == "node-1"}
    assert [state.node for state in made.copies] == ["node-0"]


def test_a_deselected_node_loses_its_label_then_its_directory() -> None:
    world = ready()
    body = document({"nodes": {"selector": {"gpu": "true"}}})
    kept = replace(world.observed.nodes[0], labels={**world.observed.nodes[0].labels, "gpu": "true"})
    world.observed = replace(world.observed, artifact=observed(body).artifact, nodes=(kept, world.observed.nodes[1]))
    world.change(consumers={"node-1": (SERVER,)})
    world.settle()
    assert READY not in world.observed.nodes[1].labels
    assert world.bodies("Pod", "remove") == []
    world.change(consumers={})
    world.settle()
    assert [body["spec"]["nodeName"] for body in world.bodies("Pod", "remove")] == ["node-1"]
    world.end("remove", "node-1", Outcome(True))
    world.settle()
    assert COPY not in world.observed.nodes[1].labels
    assert READY in world.observed.nodes[0].labels


def test_a_tainted_node_is_not_selected_and_a_cordoned_one_waits() -> None:
    gpu, cordoned = Taint("gpu", "", "NoSchedule"), Taint("node.kubernetes.io/unschedulable", "", "NoSchedule")
    world = World(observed(nodes=(node("a", taints=(gpu,)), node("b", taints=(cordoned,)), node("c", ready=False))))
    world.settle()
    world.resolved()
    made = world.settle()
    assert {(s.node, s.state, s.reason) for s in made.copies} == {
        ("b", "Waiting", "NodeNotReady"),
        ("c", "Waiting", "NodeNotReady"),
    }
    assert world.bodies("Pod", "prepare") == []


def test_a_selector_without_a_node_waits_for_one_and_names_the_selector() -> None:
    """kubernetes/autoscaler#3845: a pool is empty until a consumer makes it grow; Stalled, it never comes to that."""
    world = World(observed(document({"nodes": {"selector": {"gpu": "true"}}}), nodes=()))
    world.settle()
    world.resolved()
    made = world.settle()
    assert made.blocker is not None
    assert (made.blocker.reason, made.blocker.stalled) == ("NoMatchingNodes", False)
    assert "gpu=true" in made.blocker.message
    status = artifact_status.build(world.observed, made, NOW)
    assert {c["type"]: c["status"] for c in status["conditions"]} == {"Ready": "False", "Reconciling": "True"}
    world.change(nodes=(node("node-0", {"gpu": "true"}),))
    assert [copy.node for copy in world.settle().copies] == ["node-0"]


def test_a_foreign_claim_with_the_artifacts_name_stalls_and_is_not_changed() -> None:
    world = World(observed(claims={"chattts": ClaimFacts("chattts", False, "Bound", False)}))
    world.settle()
    world.resolved()
    made = world.settle()
    assert made.blocker is not None
    assert made.blocker.reason == "ClaimNameTaken"
    assert world.bodies("PersistentVolume") == []


def test_a_missing_claim_stalls_until_it_exists() -> None:
    world = World(observed(document({"storage": {"claim": {"name": "models"}}})))
    world.settle()
    world.resolved()
    made = world.settle()
    assert made.blocker is not None
    assert (made.blocker.reason, made.requeue_after) == ("ClaimMissing", 10)
    world.change(claims={"models": ClaimFacts("models", False, "Bound", False)})
    world.settle()
    world.end("fetch", "", COMPLETE)
    assert [(s.node, s.state) for s in world.settle().copies] == [("", "Ready")]


MODELS = ClaimFacts("models", False, "Bound", False, "claim-1")
INTO_CLAIM = {"storage": {"claim": {"name": "models"}}}
MORE_CONNECTIONS = observed(document(INTO_CLAIM | {"transfer": {"connections": 4}})).artifact


def claim_ready() -> World:
    """The claim `models` has the model."""
    world = World(observed(document(INTO_CLAIM), claims={"models": MODELS}))
    world.settle()
    world.resolved()
    world.settle()
    world.end("fetch", "", COMPLETE)
    world.settle()
    return world


def test_a_complete_copy_in_a_claim_is_recorded_and_its_pod_is_deleted() -> None:
    """fluid-cloudnative/fluid#2389: a claim stays ready when the garbage collector deletes finished pods."""
    world = claim_ready()
    assert world.observed.pods == ()
    assert [(s.node, s.state, s.checksum) for s in world.step().copies] == [("", "Ready", "Verified")]
    (record,) = world.bodies("ConfigMap")[-1:]
    assert record["data"] == {"revision": MANIFEST.revision, "claim": "models"}
    assert record["metadata"]["ownerReferences"][0]["uid"] == "u-1"


def test_a_pod_that_is_deleted_before_its_success_is_recorded_downloads_again() -> None:
    world = claim_ready()
    world.change(config_maps=frozenset(name for name in world.observed.config_maps if "-copy-" not in name))
    world.step()
    assert len(world.observed.pods_of("fetch", "")) == 1


@pytest.mark.parametrize(
    ("change", "ready"),
    [
        ({"artifact": MORE_CONNECTIONS}, True),
        ({"manifest": Manifest("def456", MANIFEST.files)}, False),
        ({"claims": {"models": replace(MODELS, uid="claim-2")}}, False),
    ],
    ids=["more connections", "another revision", "another claim of that name"],
)  # fmt: skip
def test_the_record_is_of_one_revision_in_one_claim(change: dict[str, Any], ready: bool) -> None:
    world = claim_ready()
    world.change(**change)
    world.settle()
    assert (states(world.observed)[""] == "Ready") is ready
    assert bool(world.observed.pods_of("fetch", "")) is not ready
    assert any("-copy-" in name for name in world.observed.config_maps) is ready


def test_a_download_keeps_what_the_consumers_on_its_node_mount() -> None:
    """kserve/kserve#5030: a revision must not be removed under the pod that reads it."""
    world = ready()
    world.change(manifest=Manifest("def456", MANIFEST.files), consumers={"node-0": (SERVER,)})
    world.settle()
    for name in ("node-0", "node-1"):
        world.end("prepare", name, Outcome(True))
    world.settle()
    arguments = {
        body["metadata"]["annotations"][names.ANNOTATION_NODE]: body["spec"]["initContainers"][0]["args"]
        for body in world.bodies("Pod", "fetch")
    }
    assert arguments["node-0"][-2:] == ["--mounted", "1000000-1000005"]
    assert "--mounted" not in arguments["node-1"]


def test_a_volume_that_lost_its_claim_is_created_again() -> None:
    world = ready()
    name = names.volume("speech", "chattts", "reader")
    claims = {k: v for k, v in world.observed.claims.items() if k != "chattts"}
    world.change(
        claims=claims, volumes={**world.observed.volumes, name: replace(world.observed.volumes[name], phase="Released")}
    )
    world.settle()
    assert "chattts" in world.observed.claims
    assert world.observed.volumes[name].phase == "Available"


def test_deletion_removes_the_labels_first_and_the_finalizer_last() -> None:
    world = ready()
    world.observed.artifact.document["metadata"]["deletionTimestamp"] = "2026-01-01T00:00:00Z"
    world.settle()
    assert all(READY not in n.labels for n in world.observed.nodes)
    assert names.FINALIZER in world.observed.artifact.document["metadata"]["finalizers"]
    for name in ("node-0", "node-1"):
        world.end("remove", name, Outcome(True))
    world.settle()
    assert (world.observed.pods, world.observed.claims, world.observed.volumes) == ((), {}, {})
    assert world.observed.artifact.document["metadata"]["finalizers"] == []


def test_deletion_reports_that_it_waits_for_a_consumer_and_removes_no_directory() -> None:
    world = ready()
    world.observed.artifact.document["metadata"]["deletionTimestamp"] = "2026-01-01T00:00:00Z"
    world.change(consumers={"node-0": (SERVER,)})
    made = world.step()
    assert made.blocker is not None
    assert "server-1 on node-0" in made.blocker.message
    assert {body["spec"]["nodeName"] for body in world.bodies("Pod", "remove")} == {"node-1"}


def test_deletion_does_not_wait_for_a_node_that_is_gone() -> None:
    world = ready()
    world.observed.artifact.document["metadata"]["deletionTimestamp"] = "2026-01-01T00:00:00Z"
    world.change(nodes=())
    world.settle()
    assert world.observed.artifact.document["metadata"]["finalizers"] == []


def test_deletion_waits_for_a_node_that_is_down_and_names_it() -> None:
    world = ready()
    world.observed.artifact.document["metadata"]["deletionTimestamp"] = "2026-01-01T00:00:00Z"
    world.change(nodes=(world.observed.nodes[0], replace(world.observed.nodes[1], ready=False)))
    world.settle()
    world.end("remove", "node-0", Outcome(True))
    made = world.settle()
    assert made.blocker is not None
    assert "node-1 is not ready" in made.blocker.message


@pytest.mark.parametrize("finalizers", [[], [names.FINALIZER]])
@pytest.mark.parametrize("make", [lambda: World(observed()), downloading, ready])
def test_nothing_is_created_in_a_namespace_that_terminates(make: Callable[[], World], finalizers: list[str]) -> None:
    world = make()
    world.observed.artifact.document["metadata"]["finalizers"] = finalizers
    world.change(namespace_terminating=True, pods=(), config_maps=frozenset())
    assert plan(world.observed, SETTINGS, NOW) == Plan()


def test_an_artifact_is_deleted_with_its_namespace() -> None:
    world = ready()
    world.change(namespace_terminating=True)
    world.observed.artifact.document["metadata"]["deletionTimestamp"] = "2026-01-01T00:00:00Z"
    world.settle()
    assert {body["metadata"]["namespace"] for body in world.bodies("Pod", "remove")} == {SETTINGS.namespace}


def test_a_spec_that_this_version_cannot_read_stalls_with_its_error() -> None:
    unreadable = replace(observed().artifact, spec=None, spec_error="spec.source.s3: is not a field", input_key="")
    made = plan(Observed(unreadable), SETTINGS, NOW)
    assert made.blocker is not None
    assert (made.blocker.reason, made.blocker.message, made.blocker.stalled) == (
        "InvalidSpec", "spec.source.s3: is not a field", True,
    )  # fmt: skip


def with_mirrors(*views: str, phase: str = "fetching", message: str = "", speed: float = 0.0) -> str:
    """The state of node-0 if its download reports its servers in these states."""
    world = downloading()
    (pod,) = world.observed.pods_of("fetch", "node-0")
    mirrors = tuple(MirrorProgress(f"m{number}", state) for number, state in enumerate(views))
    report = Progress(phase, total=1000, message=message, mirrors=mirrors, speed=speed)
    return states(replace(world.observed, progress={pod.name: report}))["node-0"]


def test_with_every_server_down_a_node_is_unavailable() -> None:
    assert with_mirrors("Down", "Down") == "Unavailable"
    assert with_mirrors("Down") == "Unavailable"
    assert with_mirrors("Quarantined", "Down") == "Unavailable"
    assert with_mirrors("Down", "Down", phase="repairing") == "Unavailable"


def test_connections_that_were_reset_together_do_not_make_a_copy_unavailable() -> None:
    assert with_mirrors("Down", speed=3e6) == "Downloading"
    assert with_mirrors("Down", "Down", speed=3e6) == "Downloading"


def test_with_one_usable_server_a_copy_is_downloading() -> None:
    assert with_mirrors("Down", "Up") == "Downloading"
    assert with_mirrors("Down", "Recovering") == "Downloading"
    assert with_mirrors() == "Downloading"
    assert with_mirrors("Down", phase="paused") == "Paused"
    assert with_mirrors("Down", phase="verifying") == "Verifying"


def test_every_server_down_is_reconciling_with_that_reason_and_the_message_of_the_download() -> None:
    world = downloading()
    (pod,) = world.observed.pods_of("fetch", "node-0")
    message = "all 2 mirrors are down; https://h/a.bin was reset; trying again"
    report = Progress("fetching", total=1000, message=message, mirrors=(MirrorProgress("a", "Down"),))
    found = replace(world.observed, progress={pod.name: report})
    status = artifact_status.build(found, plan(found, SETTINGS, NOW), NOW)
    conditions = {c["type"]: c for c in status["conditions"]}
    assert set(conditions) == {"Ready", "Reconciling"}
    assert (conditions["Reconciling"]["status"], conditions["Reconciling"]["reason"]) == ("True", "Unavailable")
    assert conditions["Ready"]["reason"] == "Unavailable"
    assert conditions["Ready"]["message"] == f"Unavailable on node-0 and 1 more: {message}"
