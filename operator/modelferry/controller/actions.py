"""What a plan may ask for. `apply` carries the actions out in order and stops at the first that fails."""

from __future__ import annotations

from dataclasses import dataclass

from modelferry.controller.facts import Object


@dataclass(frozen=True, slots=True)
class Create:
    """Create `body`; one that is there already is left as it is."""

    body: Object


@dataclass(frozen=True, slots=True)
class Delete:
    """Delete an object while it still is the one with `uid` (empty: whichever). `grace` in seconds, None: its own."""

    kind: str
    name: str
    namespace: str = ""
    uid: str = ""
    grace: int | None = None


@dataclass(frozen=True, slots=True)
class Label:
    """Set a label of a node, or remove it where `value` is None."""

    node: str
    key: str
    value: str | None


@dataclass(frozen=True, slots=True)
class Annotate:
    """Set an annotation of a pod, or remove it where `value` is None."""

    namespace: str
    pod: str
    key: str
    value: str | None


@dataclass(frozen=True, slots=True)
class Finalizer:
    """Put our finalizer on the artifact, or take it off."""

    present: bool


Action = Create | Delete | Label | Annotate | Finalizer


@dataclass(frozen=True, slots=True)
class EventRecord:
    """A Kubernetes Event at a turning point; `warning` makes its type Warning."""

    reason: str
    message: str
    warning: bool = False
