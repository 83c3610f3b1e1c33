"""The attempts of a pod's work, and when they are retried."""

from __future__ import annotations

from dataclasses import replace

import pytest

from modelferry.controller.actions import Delete, EndPod
from modelferry.controller.pod_attempts import Failed, NotStarted, Running, Succeeded, evaluate, retry_delay
from modelferry.messages import Outcome
from unit.controller.objects import NOW, died, done, pod

CRASH = Outcome(False, "PodDied", "transient")
FULL = Outcome(False, "InsufficientSpace", "stalled", "short by 1 GiB")


def test_without_a_pod_the_first_attempt_is_due() -> None:
    assert evaluate([], "k", NOW) == (NotStarted(1), [])


def test_a_running_pod_is_kept() -> None:
    running = pod("fetch", "n", key="k")
    assert evaluate([running], "k", NOW) == (Running(running), [])


def test_a_pod_with_another_input_is_deleted_and_waited_for() -> None:
    old = pod("fetch", "n", key="old")
    state, deletions = evaluate([old], "new", NOW)
    assert state == Running(old)
    assert deletions == [Delete("Pod", old.name, "speech", old.uid)]
    assert evaluate([pod("fetch", "n", key="old", deleting=True)], "new", NOW)[1] == []


def test_an_older_attempt_is_deleted_if_there_is_a_newer_one() -> None:
    newer, older = pod("fetch", "n", key="k", attempt=2), pod("fetch", "n", key="k", attempt=1, name="older")
    state, deletions = evaluate([newer, older], "k", NOW)
    assert state == Running(newer)
    assert [deletion.name for deletion in deletions if isinstance(deletion, Delete)] == ["older"]


def test_a_pod_with_a_good_outcome_succeeded() -> None:
    outcome = Outcome(True, revision="r")
    ended = pod("fetch", "n", key="k", **done(outcome))
    assert evaluate([ended], "k", NOW)[0] == Succeeded(ended, outcome)


def test_a_pod_that_ended_without_an_outcome_is_retried_after_its_delay() -> None:
    dead = pod("fetch", "n", key="k", phase="Failed", finished=NOW, death=died("fetch-n"))
    state, _ = evaluate([dead], "k", NOW + 1.5)
    assert isinstance(state, Failed)
    assert (state.retry_after, state.stalled, state.died, state.outcome.reason) == (0.5, False, True, "PodDied")
    assert evaluate([dead], "k", NOW + 2)[0] == NotStarted(2, "PodDied: pod fetch-n ended without an outcome")


def test_an_evicted_pod_without_container_states_counts_from_its_creation() -> None:
    evicted = pod("fetch", "n", key="k", phase="Failed", created=NOW, death=died("fetch-n"))
    state = evaluate([evicted], "k", NOW + 2)[0]
    assert isinstance(state, NotStarted)
    assert state.number == 2


def test_a_pod_that_is_being_preempted_failed_and_its_successor_waits_until_it_is_gone() -> None:
    preempted = Outcome(False, "Preempted", "transient", "pod fetch-n was preempted")
    going = pod("fetch", "n", key="k", deleting=True, death=preempted)
    assert evaluate([going], "k", NOW + 60) == (Failed(going, preempted, 5.0), [])


WRONG = Outcome(False, "DigestMismatch", "stalled", "a.bin")
WHOLE = Outcome(True, revision="r")


@pytest.mark.parametrize(
    ("ended", "state"),
    [
        ({"outcome": WHOLE}, Succeeded),
        ({"outcome": WRONG}, Failed),
        ({"outcome": FULL}, Failed),
        ({"death": died("fetch-n")}, Failed),
    ],
)
def test_an_attempt_ends_with_the_main_container_and_the_rest_of_its_pod_is_ended(
    ended: dict[str, Outcome], state: type
) -> None:
    """istio/istio#11045, kyverno/kyverno#9365: an injected container never ends, so the pod stays Running."""
    injected = pod("fetch", "n", key="k", phase="Running", finished=NOW, lingering=True, **ended)
    found, actions = evaluate([injected], "k", NOW)
    assert isinstance(found, state)
    assert actions == [EndPod("fetch-n", "speech")]


def test_the_next_attempt_waits_until_the_pod_of_the_last_one_has_ended() -> None:
    """Its sidecar still holds the directory."""
    going = pod("fetch", "n", key="k", phase="Running", finished=NOW, death=died("fetch-n"))
    assert evaluate([going], "k", NOW + 60) == (Failed(going, died("fetch-n"), 5.0), [])
    assert isinstance(evaluate([replace(going, phase="Failed")], "k", NOW + 60)[0], NotStarted)


@pytest.mark.parametrize(
    ("outcome", "attempt", "delay"),
    [
        (CRASH, 1, 2), (CRASH, 2, 4), (CRASH, 8, 256), (CRASH, 9, 300), (CRASH, 10_000, 300),
        (FULL, 1, 300), (FULL, 2, 600), (FULL, 4, 1800), (FULL, 99, 1800),
        (Outcome(False, "DigestMismatch", "stalled"), 1, None), (Outcome(False, "InvalidSpec", "stalled"), 3, None),
    ],
)  # fmt: skip
def test_the_delay_is_bounded_and_some_errors_are_never_retried(outcome: Outcome, attempt: int, delay: float) -> None:
    assert retry_delay(outcome, attempt) == delay
