"""When a pod is tried again: one pure rule for all roles.

Every attempt is a pod of its own, with its number in its name and annotation, so the whole history that the rule needs
is in the cluster. A pod that died without a word (killed, evicted, its node rebooted) is tried again after 2, 4, 8 … s,
at most 5 min. One that ended with a fault that only a person can mend is Stalled: some of these never heal by
themselves (a wrong digest); the others (a full disk, an unknown host) are looked at again after 5 min, 10 min, … at
most 30 min.
"""

from __future__ import annotations

from dataclasses import dataclass

from modelferry.controller.actions import Action, Delete
from modelferry.controller.facts import PodFacts
from modelferry.messages import Outcome

#: Reasons that no waiting heals: only a changed spec (which makes a new key), or somebody deleting the failed pod.
PERMANENT = frozenset({"InvalidSpec", "PlainHTTPRefused", "DigestMismatch", "SizeMismatch"})

_QUICK_FIRST, _QUICK_MOST = 2.0, 300.0
_SLOW_FIRST, _SLOW_MOST = 300.0, 1800.0


@dataclass(frozen=True, slots=True)
class Start:
    """Nothing runs: start attempt number ``attempt``. ``before`` says how the one before it ended."""

    attempt: int
    before: str = ""


@dataclass(frozen=True, slots=True)
class Going:
    """``pod`` is pending or running, or on its way out (then nothing is to be done but wait)."""

    pod: PodFacts


@dataclass(frozen=True, slots=True)
class Done:
    """``pod`` ended well."""

    pod: PodFacts
    outcome: Outcome


@dataclass(frozen=True, slots=True)
class Failed:
    """``pod`` ended badly. ``wait``: seconds until the next attempt is due, None for never."""

    pod: PodFacts
    outcome: Outcome
    wait: float | None

    @property
    def stalled(self) -> bool:
        """Whether a person has to do something."""
        return self.outcome.kind == "stalled"


State = Start | Going | Done | Failed


def judge(pods: list[PodFacts], key: str, now: float) -> tuple[State, list[Action]]:
    """How the work with input `key` stands, and which of `pods` (newest first) are in the way and go."""
    current = [pod for pod in pods if pod.key == key]
    stale = [pod for pod in pods if pod.key != key] + current[1:]
    drops: list[Action] = [delete_pod(pod) for pod in stale if not pod.deleting]
    others = [pod for pod in pods if pod.key != key]
    if not current:
        return (Going(others[0]) if others else Start(1)), drops
    newest = current[0]
    if newest.outcome and newest.outcome.ok and not newest.deleting:
        return Done(newest, newest.outcome), drops  # its phase says so up to 4 s later, when the sidecar has ended too
    if newest.deleting or newest.phase not in ("Succeeded", "Failed"):
        return Going(newest), drops
    outcome = newest.outcome or Outcome(False, "PodDied", "transient", f"pod {newest.name} died without a word")
    due = retry_delay(outcome, newest.attempt)
    if due is None:
        return Failed(newest, outcome, None), drops
    wait = (newest.finished or newest.created) + due - now
    if wait > 0:
        return Failed(newest, outcome, wait), drops
    return Start(newest.attempt + 1, f"{outcome.reason}: {outcome.message}"), drops


def retry_delay(outcome: Outcome, attempt: int) -> float | None:
    """Seconds from the end of attempt number `attempt` to the next one; None for never."""
    if outcome.reason in PERMANENT:
        return None
    if outcome.kind == "stalled":
        return min(_SLOW_MOST, _SLOW_FIRST * 2.0 ** min(attempt - 1, 10))
    return min(_QUICK_MOST, _QUICK_FIRST * 2.0 ** min(attempt - 1, 10))


def delete_pod(pod: PodFacts, *, at_once: bool = False) -> Delete:
    """The action that removes a pod; `at_once` where no kubelet is left to end it."""
    return Delete("Pod", pod.name, pod.namespace, pod.uid, 0 if at_once else None)
