"""All Events of an artifact: from the actions of a plan, and from what changed in its status."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest

from modelferry.controller.artifact_events import mirror_events, plan_events, status_events
from modelferry.controller.kube import APIError
from modelferry.controller.plan import plan
from modelferry.controller.reconciler import refused
from modelferry.controller.step_result import Blocker
from modelferry.messages import Outcome
from modelferry.resource import names
from unit.controller.objects import MANIFEST, NOW, SETTINGS, World, document, observed
from unit.controller.test_artifact_status import FULL_1, HALF_1, READY_0, READY_1, conditions, status
from unit.controller.test_plan import COMPLETE, downloading, ready

# --- the actions of a plan ------------------------------------------------------------------------------------------


def test_a_stored_manifest_is_resolved() -> None:
    world = World(observed())
    world.settle()
    world.end("resolve", "", Outcome(True))
    world.change(logged_manifest=b"the manifest")
    world.step()
    assert [event.reason for event in world.events] == ["Resolved"]


def test_each_attempt_of_a_download_is_announced_with_the_failure_before_it() -> None:
    world = downloading()
    world.end("fetch", "node-0", None)
    world.step(NOW + 2)
    (event,) = world.events
    assert event.reason == "Downloading"
    start, _, end = event.message.partition("PodDied: pod chattts-fetch-")
    assert start == "node-0: attempt 2 started; the previous attempt failed: "
    assert end.endswith(" ended without an outcome")


def test_a_verified_copy_is_announced_with_its_amounts() -> None:
    world = downloading()
    world.end("fetch", "node-0", replace(COMPLETE, rehashed=3))
    world.step()
    (event,) = world.events
    assert (event.reason, event.warning) == ("NodeReady", False)
    assert event.message.startswith(f"node-0: revision {MANIFEST.revision} is verified: ")
    assert event.message.endswith("3 chunks hashed again after an unclean boot")


def test_a_copy_without_a_digest_is_not_announced_as_verified() -> None:
    world = downloading()
    world.resolved(replace(MANIFEST, files=(replace(MANIFEST.files[0], digest=None),)))
    world.end("fetch", "node-0", COMPLETE)
    world.step()
    (event,) = world.events
    known = "complete, not verified: no digest declared for a.bin"
    assert event.message.startswith(f"node-0: revision {MANIFEST.revision} is {known}: ")


def test_a_deselected_node_is_announced_but_not_one_of_a_deleted_artifact() -> None:
    world = ready()
    deleted = ready()
    deleted.observed.artifact.document["metadata"]["deletionTimestamp"] = "2026-01-01T00:00:00Z"
    deleted.step()
    assert deleted.events == []
    kept = replace(world.observed.nodes[0], labels={**world.observed.nodes[0].labels, "gpu": "true"})
    body = document({"nodes": {"selector": {"gpu": "true"}}})
    world.change(artifact=observed(body).artifact, nodes=(kept, world.observed.nodes[1]))
    world.step()
    assert [(event.reason, event.message.partition(":")[0]) for event in world.events] == [("NodeDeselected", "node-1")]


def test_a_copy_that_loses_its_label_for_damage_is_not_deselected() -> None:
    world = ready()
    world.change(nodes=tuple(replace(node, boot="boot-2") for node in world.observed.nodes))
    world.settle()
    for name in ("node-0", "node-1"):
        world.end("prepare", name, Outcome(True))
    world.settle()
    world.end("fetch", "node-0", Outcome(False, "DigestMismatch", "stalled", "…"))
    world.step()
    assert names.ready_label("speech", "chattts") not in world.observed.nodes[0].labels
    assert world.events == []


def test_a_plan_that_the_api_server_rejects_announces_no_action() -> None:
    world = downloading()
    world.end("fetch", "node-0", COMPLETE)
    made = plan(world.observed, SETTINGS, NOW)
    assert plan_events(world.observed, made, NOW)
    rejected = refused(made, APIError(403, "exceeded quota"))
    assert plan_events(world.observed, rejected, NOW) == []
    assert rejected.blocker is not None
    assert "403: exceeded quota" in rejected.blocker.message


# --- two statuses ---------------------------------------------------------------------------------------------------


def test_a_ready_artifact_and_a_stalled_copy_are_announced_once() -> None:
    half, full, ready = status(READY_0, HALF_1), status(READY_0, FULL_1), status(READY_0, READY_1)
    assert [(n.reason, n.warning) for n in status_events(half, full)] == [("InsufficientSpace", True)]
    assert status_events(full, full) == []
    assert [(n.reason, n.warning) for n in status_events(full, ready)] == [("Ready", False)]


def test_a_stalled_blocker_is_announced_by_its_reason() -> None:
    body = status(blocker=Blocker("ClaimMissing", "claim models does not exist", stalled=True))
    assert [(n.reason, n.message) for n in status_events({}, body)] == [("ClaimMissing", "claim models does not exist")]


@pytest.mark.parametrize("reason", ["Refused", "NoMatchingNodes"])
def test_a_wait_that_may_need_a_person_is_announced_once(reason: str) -> None:
    body = status(blocker=Blocker(reason, "403: exceeded quota"))
    assert conditions(body)["Reconciling"] == ("True", reason)
    assert [(n.reason, n.warning) for n in status_events({}, body)] == [(reason, True)]
    assert status_events(body, body) == []


def entry(name: str, state: str, **more: Any) -> dict[str, Any]:
    return {"name": name, "state": state, **more}


@pytest.mark.parametrize(
    ("before", "after", "reasons"),
    [
        ([], [entry("lab", "Up")], []),
        ([], [entry("lab", "Down")], ["MirrorDown"]),
        ([entry("lab", "Up")], [entry("lab", "Down")], ["MirrorDown"]),
        ([entry("lab", "Down")], [entry("lab", "Down")], []),
        ([entry("lab", "Down")], [entry("lab", "Recovering")], []),
        ([entry("lab", "Recovering")], [entry("lab", "Down")], []),
        ([entry("lab", "Recovering")], [entry("lab", "Up")], ["MirrorRecovered"]),
        ([entry("lab", "Down")], [entry("lab", "Up")], ["MirrorRecovered"]),
        ([entry("lab", "Up")], [entry("lab", "Quarantined")], ["MirrorQuarantined"]),
        ([entry("lab", "Quarantined")], [entry("lab", "Up")], []),
        ([entry("source", "Up")], [entry("source", "Up", fallbacks=1)], ["FellBackToSource"]),
        ([entry("source", "Up", fallbacks=1)], [entry("source", "Up", fallbacks=1)], []),
        ([entry("far", "Up")], [entry("far", "Up", fallbacks=1)], []),
    ],
)
def test_an_event_is_a_change_between_two_reports(
    before: list[dict[str, Any]], after: list[dict[str, Any]], reasons: list[str]
) -> None:
    assert [event.reason for event in mirror_events(before, after)] == reasons
