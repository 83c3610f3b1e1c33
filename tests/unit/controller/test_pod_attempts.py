"""When a pod is tried again."""

from __future__ import annotations

import pytest

from modelferry.controller.actions import Delete
from modelferry.controller.pod_attempts import Failed, NotStarted, Running, Succeeded, evaluate, retry_delay
from modelferry.messages import Outcome
from unit.controller.objects import NOW, done, pod

CRASH = Outcome(False, "PodDied", "transient")
FULL = Outcome(False, "InsufficientSpace", "stalled", "short by 1 GiB")


def test_nothing_there_means_the_first_attempt() -> None:
    assert evaluate([], "k", NOW) == (NotStarted(1), [])


def test_a_running_pod_is_left_alone() -> None:
    running = pod("fetch", "n", key="k")
    assert evaluate([running], "k", NOW) == (Running(running), [])


def test_a_pod_with_another_input_goes_and_is_waited_for() -> None:
    old = pod("fetch", "n", key="old")
    state, drops = evaluate([old], "new", NOW)
    assert state == Running(old)
    assert drops == [Delete("Pod", old.name, "speech", old.uid)]
    assert evaluate([pod("fetch", "n", key="old", deleting=True)], "new", NOW)[1] == []


def test_an_older_attempt_goes_when_a_newer_one_is_there() -> None:
    newer, older = pod("fetch", "n", key="k", attempt=2), pod("fetch", "n", key="k", attempt=1, name="older")
    state, drops = evaluate([newer, older], "k", NOW)
    assert state == Running(newer)
    assert [drop.name for drop in drops if isinstance(drop, Delete)] == ["older"]


def test_a_good_end_is_done() -> None:
    outcome = Outcome(True, revision="r")
    ended = pod("fetch", "n", key="k", **done(outcome))
    assert evaluate([ended], "k", NOW)[0] == Succeeded(ended, outcome)


def test_a_pod_that_died_without_a_word_is_tried_again_when_its_time_has_come() -> None:
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


def test_a_succeeded_pod_without_an_outcome_is_no_success() -> None:
    assert isinstance(evaluate([pod("fetch", "n", key="k", phase="Succeeded", finished=NOW)], "k", NOW)[0], Failed)


@pytest.mark.parametrize(
    ("outcome", "attempt", "delay"),
    [
        (CRASH, 1, 2), (CRASH, 2, 4), (CRASH, 8, 256), (CRASH, 9, 300), (CRASH, 10_000, 300),
        (FULL, 1, 300), (FULL, 2, 600), (FULL, 4, 1800), (FULL, 99, 1800),
        (Outcome(False, "DigestMismatch", "stalled"), 1, None), (Outcome(False, "InvalidSpec", "stalled"), 3, None),
    ],
)  # fmt: skip
def test_the_delay_grows_to_a_bound_and_some_faults_never_heal(outcome: Outcome, attempt: int, delay: float) -> None:
    assert retry_delay(outcome, attempt) == delay
