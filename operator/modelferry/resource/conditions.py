"""kstatus conditions: Ready always; Reconciling and Stalled only while they are true.

kstatus (sigs.k8s.io/cli-utils) reads them in this order: deletionTimestamp, observedGeneration, Reconciling, Stalled,
Ready. Conditions that are abnormal when true are removed when they are not true.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any

READY, RECONCILING, STALLED = "Ready", "Reconciling", "Stalled"

#: The API server refuses a longer message (metav1.Condition).
_MAX_MESSAGE = 2048


@dataclass(frozen=True, slots=True)
class Condition:
    """One condition; ``reason`` is a CamelCase word from `modelferry.errors` or a state of the work."""

    type: str
    status: bool
    reason: str
    message: str


def rendered(
    conditions: Iterable[Condition], before: Iterable[Mapping[str, Any]], generation: int, now: float
) -> list[dict[str, Any]]:
    """As metav1.Conditions; lastTransitionTime (from `now`, epoch seconds) moves only where the status does."""
    old = {condition["type"]: condition for condition in before}
    stamp = datetime.fromtimestamp(now, UTC).strftime("%Y-%m-%dT%H:%M:%SZ")
    result = []
    for condition in conditions:
        status = "True" if condition.status else "False"
        was = old.get(condition.type, {})
        same = was.get("status") == status
        result.append(
            {
                "type": condition.type,
                "status": status,
                "reason": condition.reason,
                "message": condition.message[:_MAX_MESSAGE],
                "observedGeneration": generation,
                "lastTransitionTime": was["lastTransitionTime"] if same else stamp,
            }
        )
    return result
