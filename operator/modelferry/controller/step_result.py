"""What the steps decide: the actions, the state of each copy, and what blocks the artifact."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

from modelferry.controller.actions import Action
from modelferry.manifest import Manifest
from modelferry.messages import MirrorProgress
from modelferry.messages.earlier_revisions import RetainedRevision

#: States of a copy, in the order in which the status lists them: those that need a person come first.
COPY_STATES = (
    "Stalled",
    "Retrying",
    "Repairing",
    "Verifying",
    "Unavailable",
    "Downloading",
    "Paused",
    "Preparing",
    "Waiting",
    "Removing",
    "Ready",
)

#: The reason of a blocker when the API server rejects an action of the plan.
REFUSED = "Refused"
#: The reason of a blocker while no node has to hold the model.
NO_MATCHING_NODES = "NoMatchingNodes"


@dataclass(frozen=True, slots=True)
class CopyState:
    """The copy on a node (or in the existing claim, then ``node`` is empty). Bytes, bytes per second, seconds.

    ``state`` is one of `COPY_STATES`; Unavailable: every server is down and is probed. ``done`` counts the bytes that
    arrived, ``verified`` those of them that are hashed, synced and recorded. ``checksum`` is Pending, Verified,
    Mismatch or Unknown (no digest is declared). ``mirrors``: as the download sees them. ``limit``: bytes per second
    that it may receive now, None for no limit. ``reporting``: whether the sidecar of its running download answers,
    None while no download runs. ``retained``: the earlier revisions on the disk, None if that is unknown now.
    """

    node: str
    state: str
    reason: str = ""
    message: str = ""
    done: int = 0
    verified: int = 0
    total: int = 0
    speed: float = 0.0
    eta: float | None = None
    retries: int = 0
    checksum: str = "Pending"
    mirrors: tuple[MirrorProgress, ...] = ()
    limit: int | None = None
    reporting: bool | None = None
    retained: tuple[RetainedRevision, ...] | None = None


@dataclass(frozen=True, slots=True)
class Blocker:
    """Why no copy can be worked on: resolving, a missing claim, no matching node, a deletion that waits."""

    reason: str
    message: str
    stalled: bool = False


@dataclass(frozen=True, slots=True)
class StepResult:
    """What one step decides. ``requeue_after``: seconds until it has to run again, None to wait for an event."""

    actions: tuple[Action, ...] = ()
    blocker: Blocker | None = None
    requeue_after: float | None = None
    copy: CopyState | None = None


@dataclass(frozen=True, slots=True)
class Plan:
    """The combined steps of one reconciliation. ``manifest`` is None until the source is resolved."""

    actions: tuple[Action, ...] = ()
    blocker: Blocker | None = None
    requeue_after: float | None = None
    copies: tuple[CopyState, ...] = ()
    manifest: Manifest | None = None

    @classmethod
    def combine(cls, steps: Iterable[StepResult], manifest: Manifest | None = None) -> Plan:
        """All actions in order, the first blocker, the shortest `requeue_after`."""
        steps = tuple(steps)
        return cls(
            actions=tuple(action for step in steps for action in step.actions),
            blocker=next((step.blocker for step in steps if step.blocker), None),
            requeue_after=soonest(step.requeue_after for step in steps),
            copies=tuple(step.copy for step in steps if step.copy),
            manifest=manifest,
        )


def soonest(times: Iterable[float | None]) -> float | None:
    """The smallest of `times`, None if there is none."""
    return min((time for time in times if time is not None), default=None)
