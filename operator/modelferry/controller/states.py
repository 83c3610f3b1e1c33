"""What a plan finds out about each node and the whole: the raw material of the status."""

from __future__ import annotations

from dataclasses import dataclass

from modelferry.controller.actions import Action, EventRecord
from modelferry.manifest import Manifest
from modelferry.messages import MirrorProgress

#: States of a node, in the order in which the status lists them: what needs a person comes first.
STATES = (
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


#: The reason of a hold when the API server does not let a plan be carried out.
REFUSED = "Refused"


@dataclass(frozen=True, slots=True)
class NodeState:
    """A node's copy (or the claim's, then ``node`` is empty). Bytes, bytes per second, seconds.

    ``state`` is one of `STATES`; Unavailable: every server is down, and each is tried in turn. ``done`` is what has
    arrived, ``verified`` what of it is hashed, synced and recorded. ``checksum`` is Pending, Verified, Mismatch or
    Unknown (no digest is declared). ``mirrors`` as its download sees them. ``limit``: bytes per second that it may
    receive now, None for no limit.
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


@dataclass(frozen=True, slots=True)
class Blocker:
    """Something stands before the nodes: resolving, a missing claim, no matching node, a deletion that waits."""

    reason: str
    message: str
    stalled: bool = False


@dataclass(frozen=True, slots=True)
class Step:
    """What one step decides. ``again``: seconds after which it wants to be asked again (None: an event will tell)."""

    actions: tuple[Action, ...] = ()
    notices: tuple[EventRecord, ...] = ()
    hold: Blocker | None = None
    again: float | None = None
    state: NodeState | None = None


@dataclass(frozen=True, slots=True)
class Plan:
    """All steps of one reconciliation. ``manifest`` is None while it is not known."""

    actions: tuple[Action, ...] = ()
    notices: tuple[EventRecord, ...] = ()
    hold: Blocker | None = None
    again: float | None = None
    states: tuple[NodeState, ...] = ()
    manifest: Manifest | None = None

    @classmethod
    def of(cls, steps: list[Step], manifest: Manifest | None = None) -> Plan:
        """The steps put together: actions and notices in order, the first hold, the soonest `again`."""
        times = [step.again for step in steps if step.again is not None]
        return cls(
            actions=tuple(action for step in steps for action in step.actions),
            notices=tuple(notice for step in steps for notice in step.notices),
            hold=next((step.hold for step in steps if step.hold), None),
            again=min(times) if times else None,
            states=tuple(step.state for step in steps if step.state),
            manifest=manifest,
        )
