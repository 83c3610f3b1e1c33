"""The attempts of a pod's work, and when they are retried."""

from __future__ import annotations

import pytest

from modelferry.controller.actions import Delete
from modelferry.controller.pod_attempts import Failed, NotStarted, Running, Succeeded, evaluate, retry_delay
from modelferry.messages import Outcome
from unit.controller.objects import NOW, done, pod

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
    dead = pod("fetch", "n", key="k", phase="Failed", finished=NOW)
    state, _ = evaluate([dead], "k", NOW + 1.5)
    assert isinstance(state, Failed)
    assert (state.retry_after, state.stalled, state.outcome.reason) == (0.5, False, "PodDied")
    assert evaluate([dead], "k", NOW + 2)[0] == NotStarted(2, "PodDied: pod fetch-n ended without an outcome")


def test_an_evicted_pod_without_container_states_counts_from_its_creation() -> None:
    evicted = pod("fetch", "n", key="k", phase="Failed", created=NOW)
    state = evaluate([evicted], "k", NOW + 2)[0]
    assert isinstance(state, NotStarted)
    assert state.number == 2


def test_a_succeeded_pod_without_an_outcome_failed() -> None:
    assert isinstance(evaluate([pod("fetch", "n", key="k", phase="Succeeded", finished=NOW)], "k", NOW)[0], Failed)


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
