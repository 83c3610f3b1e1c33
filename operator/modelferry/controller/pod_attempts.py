"""The attempts of a pod's work, and when the next one starts: one pure rule for all roles.

Each attempt is a pod of its own, with its number in its name and annotation, so the history that the rule needs is in
the cluster. An attempt ends with the pod's main container, whatever else runs in the pod: an admission webhook may have
added a container that never ends. Such a pod is ended too, and stays as the record of its attempt.

After a pod that ended without an outcome (killed, evicted, its node rebooted) the next attempt starts after 2, 4, 8 …
s, at most 5 min. After an error that needs a person the state is Stalled: some of these errors cannot disappear without
a changed spec (a wrong digest); the others (a full disk, an unknown host) are retried after 5 min, 10 min, … at most
30 min.
"""

from __future__ import annotations

from dataclasses import dataclass

from modelferry.controller.actions import Action, Delete, EndPod
from modelferry.controller.facts import PodFacts
from modelferry.controller.pod_diagnosis import ENDED_PHASES
from modelferry.messages import Outcome

#: Reasons that are not retried: only a changed spec (which makes a new key) helps, or a person who deletes the pod.
PERMANENT = frozenset({"InvalidSpec", "PlainHTTPRefused", "DigestMismatch", "SizeMismatch"})

#: Seconds before the second attempt, and at most, after errors that pass and after those that need a person.
_TRANSIENT_FIRST, _TRANSIENT_MAX = 2.0, 300.0
_STALLED_FIRST, _STALLED_MAX = 300.0, 1800.0
#: Seconds after which a pod that is still terminating is looked at again, although an event will tell.
_TERMINATING = 5.0


@dataclass(frozen=True, slots=True)
class NotStarted:
    """Attempt ``number`` is due and has no pod yet. ``previous_error``: how the attempt before it failed."""

    number: int
    previous_error: str = ""


@dataclass(frozen=True, slots=True)
class Running:
    """``pod`` is pending or running, or terminating (then there is nothing to do but wait)."""

    pod: PodFacts


@dataclass(frozen=True, slots=True)
class Succeeded:
    """``pod`` completed its work."""

    pod: PodFacts
    outcome: Outcome


@dataclass(frozen=True, slots=True)
class Failed:
    """``pod`` failed. ``retry_after``: seconds until the next attempt is due, None for never."""

    pod: PodFacts
    outcome: Outcome
    retry_after: float | None

    @property
    def stalled(self) -> bool:
        """Whether a person has to do something."""
        return self.outcome.kind == "stalled"

    @property
    def died(self) -> bool:
        """Whether the pod left no outcome: it says nothing about its work."""
        return self.pod.outcome is None


Attempt = NotStarted | Running | Succeeded | Failed


def evaluate(pods: list[PodFacts], key: str, now: float) -> tuple[Attempt, list[Action]]:
    """The state of the work with input `key`, and the deletion of those of `pods` (newest first) that are obsolete."""
    current = [pod for pod in pods if pod.key == key]
    obsolete = [pod for pod in pods if pod.key != key] + current[1:]
    deletions: list[Action] = [delete_pod(pod) for pod in obsolete if not pod.deleting]
    others = [pod for pod in pods if pod.key != key]
    if not current:
        return (Running(others[0]) if others else NotStarted(1)), deletions
    newest = current[0]
    ending: list[Action] = [EndPod(newest.name, newest.namespace)] if newest.lingering and not newest.deleting else []
    actions = [*deletions, *ending]
    if newest.outcome and newest.outcome.ok and not newest.deleting:
        # The pod's phase follows up to 4 s later, when the sidecar has terminated too.
        return Succeeded(newest, newest.outcome), actions
    outcome = newest.death if newest.deleting else newest.outcome or newest.death
    if outcome is None:
        return Running(newest), actions
    delay = retry_delay(outcome, newest.attempt)
    if delay is None:
        return Failed(newest, outcome, None), actions
    retry_after = (newest.finished or newest.created) + delay - now
    # No two pods of one work at a time: the sidecar of the first may still hold the directory.
    if newest.deleting or newest.phase not in ENDED_PHASES:
        retry_after = max(retry_after, _TERMINATING)
    if retry_after > 0:
        return Failed(newest, outcome, retry_after), actions
    return NotStarted(newest.attempt + 1, f"{outcome.reason}: {outcome.message}"), actions


def retry_delay(outcome: Outcome, attempt: int) -> float | None:
    """Seconds from the end of attempt number `attempt` to the next one; None for never."""
    if outcome.reason in PERMANENT:
        return None
    if outcome.kind == "stalled":
        return min(_STALLED_MAX, _STALLED_FIRST * 2.0 ** min(attempt - 1, 10))
    return min(_TRANSIENT_MAX, _TRANSIENT_FIRST * 2.0 ** min(attempt - 1, 10))


def delete_pod(pod: PodFacts, *, immediately: bool = False) -> Delete:
    """The action that deletes a pod; `immediately` if its node is gone, so that no kubelet terminates it."""
    return Delete("Pod", pod.name, pod.namespace, pod.uid, 0 if immediately else None)
