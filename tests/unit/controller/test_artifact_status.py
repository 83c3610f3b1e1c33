"""The status and its conditions, from plans."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest

import kstatus
from modelferry.controller import artifact_status
from modelferry.controller.step_result import Blocker, CopyState, Plan
from modelferry.messages.earlier_revisions import RetainedRevision
from unit.controller.objects import MANIFEST, NOW, document, observed


def status(
    *states: CopyState,
    before: dict[str, Any] | None = None,
    blocker: Blocker | None = None,
    min_ready: int | str = "100%",
) -> dict[str, Any]:
    body = document({"nodes": {"minReady": min_ready}})
    if before is not None:
        body["status"] = before
    manifest = MANIFEST if states else None
    return artifact_status.build(observed(body), Plan(copies=states, blocker=blocker, manifest=manifest), NOW)


def conditions(body: dict[str, Any]) -> dict[str, tuple[str, str]]:
    return {c["type"]: (c["status"], c["reason"]) for c in body["conditions"]}


READY_0 = CopyState("node-0", "Ready", done=1000, verified=1000, total=1000, checksum="Verified")
READY_1 = CopyState("node-1", "Ready", done=1000, verified=1000, total=1000, checksum="Verified")
HALF_1 = CopyState(
    "node-1", "Downloading", "Downloading", done=500, verified=400, total=1000, speed=52_428_800.0, eta=23.0
)
FULL_1 = CopyState("node-1", "Stalled", "InsufficientSpace", "node-1 is short 1 GiB", total=1000)


def test_all_copies_complete_is_ready_and_nothing_else() -> None:
    body = status(READY_0, READY_1)
    assert conditions(body) == {"Ready": ("True", "Verified")}
    assert body["summary"] == {"nodes": "2/2", "progress": "100%"}
    assert body["checksum"] == "Verified"


def test_a_model_without_a_digest_is_ready_but_not_called_verified() -> None:
    file = replace(MANIFEST.files[0], digest=None)
    copy = replace(READY_0, checksum="Unknown")
    seen = observed(document())
    plan = Plan(copies=(copy,), manifest=replace(MANIFEST, files=(file,)))
    body = artifact_status.build(seen, plan, NOW)
    assert conditions(body) == {"Ready": ("True", "NotVerified")}
    message = body["conditions"][0]["message"]
    assert message.startswith("Ready on 1 node: complete, not verified: no digest declared for a.bin; add `sha256: ")
    assert "nothing shows when a.bin is replaced at the source" in message
    document_after = document()
    document_after["status"] = body
    assert not artifact_status.needs_write(body, artifact_status.build(observed(document_after), plan, NOW + 60))


def test_a_download_is_reconciling_with_amounts_for_the_columns() -> None:
    body = status(READY_0, HALF_1)
    assert conditions(body) == {"Ready": ("False", "Downloading"), "Reconciling": ("True", "Downloading")}
    assert body["summary"] == {"nodes": "1/2", "progress": "75%", "speed": "50.0MiB/s", "eta": "23s"}
    assert body["bytes"] == {"done": 1500, "verified": 1400, "total": 2000, "percent": 75, "perSecond": 52_428_800}
    assert body["conditions"][0]["message"] == "Downloading on node-1"
    assert body["checksum"] == "Pending"


def test_a_stalled_node_shows_immediately_while_the_other_continues() -> None:
    body = status(CopyState("node-0", "Downloading", "Downloading", total=1000), FULL_1)
    assert conditions(body) == {
        "Ready": ("False", "InsufficientSpace"),
        "Reconciling": ("True", "Downloading"),
        "Stalled": ("True", "InsufficientSpace"),
    }
    assert [copy["name"] for copy in body["copies"]] == ["node-1", "node-0"]


def test_only_stalled_copies_left_is_not_reconciling() -> None:
    assert set(conditions(status(READY_0, FULL_1))) == {"Ready", "Stalled"}


WAITING_2 = CopyState("node-2", "Waiting", "NodeNotReady", "the node is cordoned", total=1000)


@pytest.mark.parametrize("min_ready", [1, 2, "50%", "66%"])
def test_enough_ready_copies_make_the_artifact_ready_for_kstatus_too(min_ready: int | str) -> None:
    """helm/helm#10722: a cordoned node kept a release from being ready."""
    body = status(READY_0, READY_1, WAITING_2, min_ready=min_ready)
    assert conditions(body) == {"Ready": ("True", "Verified")}
    assert body["conditions"][0]["message"] == "Ready on 2 of 3 nodes; Waiting on node-2: the node is cordoned"
    assert kstatus.compute(document() | {"status": body}) == "Current"
    assert body["nodes"] == {"total": 3, "ready": 2, "stalled": 0}
    assert body["summary"]["nodes"] == "2/3"


@pytest.mark.parametrize("min_ready", [3, "67%", "100%"])
def test_too_few_ready_copies_leave_the_artifact_in_progress(min_ready: int | str) -> None:
    body = status(READY_0, READY_1, WAITING_2, min_ready=min_ready)
    assert conditions(body) == {"Ready": ("False", "Waiting"), "Reconciling": ("True", "Waiting")}


def test_a_stalled_copy_beside_enough_ready_ones_is_in_the_message() -> None:
    body = status(READY_0, FULL_1, min_ready=1)
    assert conditions(body) == {"Ready": ("True", "Verified")}
    assert body["conditions"][0]["message"] == "Ready on 1 of 2 nodes; Stalled on node-1: node-1 is short 1 GiB"
    assert body["nodes"]["stalled"] == 1


def test_fewer_nodes_than_have_to_be_ready_are_waited_for() -> None:
    body = status(READY_0, READY_1, min_ready=3)
    assert conditions(body) == {"Ready": ("False", "TooFewNodes"), "Reconciling": ("True", "TooFewNodes")}
    assert body["conditions"][0]["message"] == (
        "Ready on 2 nodes, but spec.nodes.minReady is 3: add or label a node, or lower minReady"
    )


def test_every_condition_has_the_generation_that_it_describes() -> None:
    body = status(READY_0, FULL_1)
    assert {c["observedGeneration"] for c in body["conditions"]} == {1} == {body["observedGeneration"]}


def test_the_transition_time_moves_only_with_the_status() -> None:
    before = status(HALF_1)
    before["conditions"][0]["lastTransitionTime"] = "2020-01-01T00:00:00Z"
    assert status(FULL_1, before=before)["conditions"][0]["lastTransitionTime"] == "2020-01-01T00:00:00Z"
    assert status(READY_1, before=before)["conditions"][0]["lastTransitionTime"] != "2020-01-01T00:00:00Z"


def test_the_same_observed_state_needs_no_write() -> None:
    before = status(READY_0, READY_1)
    before["conditions"][0]["lastTransitionTime"] = "2020-01-01T00:00:00Z"
    assert not artifact_status.needs_write(before, status(READY_0, READY_1, before=before))
    assert artifact_status.needs_write(before, status(READY_0, HALF_1, before=before))


def test_amounts_alone_are_no_change_of_state() -> None:
    more = CopyState("node-1", "Downloading", "Downloading", done=600, total=1000)
    assert artifact_status.needs_write(status(HALF_1), status(more))
    assert not artifact_status.state_changed(status(HALF_1), status(more))
    assert artifact_status.state_changed(status(HALF_1), status(READY_1))


def test_a_new_source_that_is_being_resolved_keeps_what_the_model_was() -> None:
    before = status(READY_0, READY_1)
    body = status(before=before, blocker=Blocker("Resolving", "requesting"))
    assert body["revision"] == MANIFEST.revision
    assert conditions(body)["Reconciling"] == ("True", "Resolving")


def test_the_list_of_copies_is_bounded_and_shows_the_failing_first() -> None:
    many = [CopyState(f"n-{i:03}", "Ready", done=1, total=1) for i in range(500)]
    body = status(*many, FULL_1)
    assert len(body["copies"]) == artifact_status.MAX_COPIES
    assert body["copies"][0]["name"] == "node-1"
    assert body["nodes"] == {"total": 501, "ready": 500, "stalled": 1}


RUNNING = CopyState("node-1", "Downloading", "Downloading", done=600, verified=500, total=1000, reporting=True)


def copy_of(body: dict[str, Any], name: str = "node-1") -> dict[str, Any]:
    return next(copy for copy in body["copies"] if copy["name"] == name)


def test_displayed_bytes_do_not_decrease_between_two_reports_of_a_sidecar() -> None:
    before = status(RUNNING)
    less = replace(RUNNING, done=550, verified=510)
    found = copy_of(status(less, before=before))
    assert (found["bytesDone"], found["bytesVerified"]) == (600, 510)
    other_state = replace(less, state="Repairing", reason="Repairing")
    assert copy_of(status(other_state, before=before))["bytesDone"] == 550


def test_a_sidecar_that_does_not_answer_keeps_its_last_report() -> None:
    before = status(replace(RUNNING, message="from lab", checksum="Pending", speed=5.0))
    silent = CopyState("node-1", "Waiting", "Starting", "the download pod is starting", total=1000, reporting=False)
    found = copy_of(status(silent, before=before))
    assert (found["state"], found["message"], found["bytesDone"]) == ("Downloading", "from lab", 600)
    assert "perSecond" not in found
    assert copy_of(status(silent))["state"] == "Waiting"
    failed = CopyState("node-1", "Retrying", "PodDied", "ended", total=1000)
    assert copy_of(status(silent, before=status(failed)))["state"] == "Waiting"


def test_earlier_revisions_on_the_disk_are_shown_until_the_next_download_ends() -> None:
    v1 = {"revision": "v1", "bytes": 1000, "mounted": True}
    before = status(replace(READY_0, retained=(RetainedRevision("v1", 1000, True),)))
    assert before["copies"][0]["retained"] == [v1]
    assert status(READY_0, before=before)["copies"][0]["retained"] == [v1]
    assert "retained" not in status(replace(READY_0, retained=()), before=before)["copies"][0]
