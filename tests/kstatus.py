"""kstatus: the state that Flux, kpt and `helm --wait` of custom resources compute from any object.

The rules of ``Compute`` in sigs.k8s.io/cli-utils/pkg/kstatus/status for custom resources.
"""

from __future__ import annotations

from typing import Any


def compute(document: dict[str, Any]) -> str:
    """Terminating, InProgress, Failed or Current."""
    meta, status = document["metadata"], document.get("status") or {}
    if meta.get("deletionTimestamp"):
        return "Terminating"
    if status.get("observedGeneration", meta["generation"]) != meta["generation"]:
        return "InProgress"
    conditions = {one["type"]: one["status"] for one in status.get("conditions") or []}
    if conditions.get("Reconciling") == "True":
        return "InProgress"
    if conditions.get("Stalled") == "True":
        return "Failed"
    # Without a Ready condition, an object counts as one that needs no controller.
    return "Current" if conditions.get("Ready", "True") == "True" else "InProgress"
