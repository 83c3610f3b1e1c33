"""Builds the artifact's status from the observed state and the plan. Pure.

The last status is input to the new one only for what the cluster cannot tell any more:

- what a sidecar last reported, while it does not answer (`_with_last_report`);
- revision, size and amounts of the model, while another source is being resolved (`_model`, `_amounts`): the manifest
  is found by its source, and the spec has the new one only;
- what downloads reported of the mirrors, when their pods are gone (`mirror_status`), and of earlier revisions;
- when each condition last changed (`conditions.rendered`).

No action depends on it: it only keeps the displayed values from flapping.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict, replace
from typing import Any, NamedTuple

from modelferry.controller import mirror_status
from modelferry.controller.facts import ArtifactFacts, Object, Observed
from modelferry.controller.step_result import COPY_STATES, CopyState, Plan
from modelferry.manifest import Manifest
from modelferry.resource.conditions import READY, RECONCILING, STALLED, Condition, rendered
from modelferry.resource.spec import ExistingClaim
from modelferry.resource.undeclared_digests import completeness, remedy
from modelferry.values.quantities import duration_text, rate_column, size_column

#: Copies listed in the status, those that need a person first: more would make the object large. Counts cover all.
MAX_COPIES = 20

#: The states that a sidecar's report leads to.
_REPORTED = frozenset({"Preparing", "Verifying", "Repairing", "Paused", "Downloading", "Unavailable"})


def build(observed: Observed, plan: Plan, now: float) -> Object:
    """The complete status; `now` in seconds of the epoch."""
    artifact = observed.artifact
    before = artifact.last_status
    previous = {copy["name"]: copy for copy in before.get("copies") or []}
    copies = [_with_last_report(copy, previous.get(_name(copy), {})) for copy in plan.copies]
    body: Object = {"observedGeneration": artifact.generation}
    body |= _model(before, plan)
    body |= _amounts(before, plan, copies, previous)
    mirrors = artifact.spec.mirrors if artifact.spec is not None else ()
    if listed := mirror_status.merge(before.get("mirrors") or [], mirrors, copies):
        body["mirrors"] = listed
    conditions = _conditions(artifact, plan, copies)
    body["conditions"] = rendered(conditions, before.get("conditions") or [], artifact.generation, now)
    return body


def needs_write(before: Object, after: Object) -> bool:
    """Whether the statuses differ in more than order and times."""
    return _comparable(before) != _comparable(after)


def state_changed(before: Object, after: Object) -> bool:
    """Whether more than amounts changed: such a status is written without delay."""
    return _states(before) != _states(after)


def _with_last_report(copy: CopyState, before: Object) -> CopyState:
    """`copy` with what its sidecar reported before, where that is more than it reports now.

    A sidecar that does not answer is starting, terminating or slow. One that answers learns once a second what is in
    flight: two requests within one second may see slightly less than before.
    """
    if copy.reporting is None or before.get("state") not in _REPORTED:
        return copy
    if copy.reporting:
        done = before.get("bytesDone", 0) if before["state"] == copy.state else 0
        return replace(copy, done=min(copy.total, max(copy.done, done)))
    return replace(
        copy,
        state=before["state"],
        reason=before["state"],
        message=before.get("message", ""),
        done=before.get("bytesDone", 0),
        verified=before.get("bytesVerified", 0),
        checksum=before.get("checksum", "Pending"),
    )


def _model(before: Object, plan: Plan) -> Object:
    """The model; while a new source is being resolved, the model before."""
    if plan.manifest is None:
        return {key: before[key] for key in ("revision", "digest", "size", "sizeBytes", "files") if key in before}
    manifest = plan.manifest
    return {
        "revision": manifest.revision,
        "digest": manifest.digest,
        "size": size_column(manifest.size),
        "sizeBytes": manifest.size,
        "files": len(manifest.files),
    }


def _amounts(before: Object, plan: Plan, copies: Sequence[CopyState], previous: Mapping[str, Object]) -> Object:
    if not copies:
        keep = ("bytes", "nodes", "summary", "checksum") if plan.manifest is None else ()
        return {key: before[key] for key in keep if key in before}
    done, total = sum(copy.done for copy in copies), sum(copy.total for copy in copies)
    speed = sum(copy.speed for copy in copies)
    ready = sum(copy.state == "Ready" for copy in copies)
    etas = [copy.eta for copy in copies if copy.eta is not None]
    percent = done * 100 // total if total else (100 if ready == len(copies) else 0)
    summary = {"nodes": f"{ready}/{len(copies)}", "progress": f"{percent}%"}
    summary |= {"speed": rate_column(speed)} if speed >= 1 else {}
    summary |= {"eta": duration_text(max(etas))} if etas and ready < len(copies) else {}
    return {
        "bytes": {
            "done": done,
            "verified": sum(copy.verified for copy in copies),
            "total": total,
            "percent": percent,
            "perSecond": int(speed),
        },
        "nodes": {
            "total": len(copies),
            "ready": ready,
            "stalled": sum(copy.state == "Stalled" for copy in copies),
        },
        "summary": summary,
        "checksum": _checksum(copies),
        "copies": [_copy(copy, previous.get(_name(copy), {})) for copy in _sorted(copies)[:MAX_COPIES]],
    }


def _checksum(copies: Sequence[CopyState]) -> str:
    found = {copy.checksum for copy in copies}
    return next((checksum for checksum in ("Mismatch", "Pending", "Unknown") if checksum in found), "Verified")


def _sorted(copies: Sequence[CopyState]) -> list[CopyState]:
    return sorted(copies, key=lambda copy: (COPY_STATES.index(copy.state), copy.node))


def _name(copy: CopyState) -> str:
    return copy.node or "claim"


def _copy(copy: CopyState, before: Object) -> Object:
    body: dict[str, Any] = {
        "name": _name(copy),
        "state": copy.state,
        "checksum": copy.checksum,
        "bytesDone": copy.done,
        "bytesVerified": copy.verified,
        "bytesTotal": copy.total,
        "percent": copy.done * 100 // copy.total if copy.total else (100 if copy.state == "Ready" else 0),
    }
    body |= {"reason": copy.reason} if copy.reason else {}
    body |= {"message": copy.message[:1024]} if copy.message else {}
    body |= {"perSecond": int(copy.speed)} if copy.speed >= 1 else {}
    body |= {"retries": copy.retries} if copy.retries else {}
    body |= {"limitPerSecond": copy.limit} if copy.limit is not None else {}
    known = copy.retained is not None
    retained = [asdict(one) for one in copy.retained or ()] if known else before.get("retained", [])
    body |= {"retained": retained} if retained else {}
    return body


class _Reason(NamedTuple):
    """Reason and message of a condition."""

    reason: str
    message: str


def _conditions(artifact: ArtifactFacts, plan: Plan, copies: Sequence[CopyState]) -> list[Condition]:
    """Ready always; Reconciling and Stalled if they are true. Copies may work while others are stalled."""
    ready: _Reason | None = None
    reconciling: _Reason | None = None
    stalled: _Reason | None = None
    if plan.blocker:
        blocked = _Reason(plan.blocker.reason, plan.blocker.message)
        reconciling, stalled = (None, blocked) if plan.blocker.stalled else (blocked, None)
    elif not copies:
        reconciling = _Reason("Reconciling", "the artifact is being reconciled")
    else:
        ready, reconciling, stalled = _copy_conditions(artifact, plan, copies)
    first = ready or stalled or reconciling
    assert first is not None
    found = [Condition(READY, ready is not None, *first)]
    found += [Condition(RECONCILING, True, *reconciling)] if reconciling else []
    found += [Condition(STALLED, True, *stalled)] if stalled else []
    return found


def _copy_conditions(
    artifact: ArtifactFacts, plan: Plan, copies: Sequence[CopyState]
) -> tuple[_Reason | None, _Reason | None, _Reason | None]:
    """The reasons for Ready, Reconciling and Stalled. With enough ready copies the artifact is Ready and nothing else,
    also for kstatus, whatever the other copies do (decision 38): the message, ``nodes`` and ``copies`` have them."""
    stalled = [copy for copy in copies if copy.state == "Stalled"]
    working = [copy for copy in _sorted(copies) if copy.state not in ("Stalled", "Ready")]
    required = artifact.valid_spec.nodes.min_ready
    ready = len(copies) - len(stalled) - len(working)
    if ready < len(copies) and ready >= required.copies(len(copies)):
        reason, message = _ready_reason(artifact, plan.manifest, f"on {ready} of {len(copies)} nodes")
        return _Reason(reason, f"{message}; {_unready_message([*stalled, *working])}"), None, None
    if ready == len(copies):
        where = _where(artifact, ready)
        if ready >= required.copies(ready):
            return _ready_reason(artifact, plan.manifest, where), None, None
        message = f"Ready {where}, but spec.nodes.minReady is {required}: add or label a node, or lower minReady"
        return None, _Reason("TooFewNodes", message), None
    more = f" (and {len(stalled) - 1} more)" if len(stalled) > 1 else ""
    return (
        None,
        _Reason(working[0].state, _unready_message(working)) if working else None,
        _Reason(stalled[0].reason, stalled[0].message + more) if stalled else None,
    )


def _ready_reason(artifact: ArtifactFacts, manifest: Manifest | None, where: str) -> _Reason:
    """Why Ready is true; what of it is not verified, and how it would be."""
    if manifest is None or not manifest.undeclared:
        return _Reason("Verified", f"Ready {where}")
    unknown = completeness([file.path for file in manifest.undeclared])
    return _Reason("NotVerified", f"Ready {where}: {unknown}; {remedy(artifact.valid_spec.source, manifest)}")


def _where(artifact: ArtifactFacts, count: int) -> str:
    storage = artifact.valid_spec.storage
    if isinstance(storage, ExistingClaim):
        return f"in claim {storage.name}"
    return f"on {count} node{'s' if count > 1 else ''}"


def _unready_message(copies: Sequence[CopyState]) -> str:
    first = copies[0]
    more = f" and {len(copies) - 1} more" if len(copies) > 1 else ""
    where = f" on {first.node}{more}" if first.node else ""
    detail = f": {first.message}" if first.message else ""
    return f"{first.state}{where}{detail}"


def _comparable(status: Object) -> Object:
    conditions = [
        {key: value for key, value in condition.items() if key != "lastTransitionTime"}
        for condition in sorted(status.get("conditions") or [], key=lambda one: str(one["type"]))
    ]
    copies = sorted(status.get("copies") or [], key=lambda copy: str(copy["name"]))
    return dict(status) | {"conditions": conditions, "copies": copies}


def _states(status: Object) -> Object:
    """What of a status is not an amount."""
    comparable = _comparable(status)
    return {
        "conditions": [(one["type"], one["status"], one["reason"]) for one in comparable["conditions"]],
        "copies": [(copy["name"], copy["state"], copy.get("reason")) for copy in comparable["copies"]],
        "model": [status.get(key) for key in ("observedGeneration", "revision")],
        "mirrors": mirror_status.states(status.get("mirrors") or []),
    }
