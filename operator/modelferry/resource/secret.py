"""References to Secrets."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class SecretReference:
    """A Secret in the artifact's namespace. The kubelet mounts it into the pods that need it; the operator cannot read
    it."""

    name: str


@dataclass(frozen=True, slots=True)
class SecretKey:
    """One key of a Secret in the artifact's namespace."""

    name: str
    key: str
