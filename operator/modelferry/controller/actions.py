"""The actions of a plan. `apply` executes them in order and stops at the first that fails."""

from __future__ import annotations

from dataclasses import dataclass

from modelferry.controller.facts import Object


@dataclass(frozen=True, slots=True)
class Create:
    """Create `body`; an existing object of that name is left unchanged."""

    body: Object


@dataclass(frozen=True, slots=True)
class Delete:
    """Delete an object if it still has `uid` (empty: any). `grace` is its grace period in seconds, None: its own."""

    kind: str
    name: str
    namespace: str = ""
    uid: str = ""
    grace: int | None = None


@dataclass(frozen=True, slots=True)
class LabelNode:
    """Set a label of a node, or remove it if `value` is None."""

    node: str
    key: str
    value: str | None


@dataclass(frozen=True, slots=True)
class AnnotatePod:
    """Set an annotation of a pod, or remove it if `value` is None."""

    namespace: str
    pod: str
    key: str
    value: str | None


@dataclass(frozen=True, slots=True)
class EndPod:
    """Let the kubelet terminate what still runs in a pod; the pod stays, with the states of its containers."""

    name: str
    namespace: str


@dataclass(frozen=True, slots=True)
class SetFinalizer:
    """Add our finalizer to the artifact, or remove it."""

    present: bool


#: An action on another object than the artifact.
Change = Create | Delete | LabelNode | AnnotatePod | EndPod
Action = Change | SetFinalizer
