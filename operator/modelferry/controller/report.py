"""Facts and plan into the resource's status, and the turning points between two statuses into Events. Pure."""

from __future__ import annotations

from typing import Any

from modelferry.controller import mirror_status
from modelferry.controller.actions import EventRecord
from modelferry.controller.facts import Object, Observed
from modelferry.controller.states import REFUSED, STATES, NodeState, Plan
from modelferry.resource.conditions import READY, RECONCILING, STALLED, Condition, rendered
from modelferry.resource.spec import ExistingClaim
from modelferry.values.quantities import duration_text, rate_column, size_column

#: Copies listed in the status: those that need a person first. More would make the object large; counts cover all.
MAX_COPIES = 20


def status(seen: Observed, plan: Plan, now: float) -> Object:
    """The whole status that the facts and the plan make."""
    before = seen.status
    body: Object = {"observedGeneration": seen.generation}
    body |= _model(before, plan)
    body |= _amounts(before, plan)
    if seen.artifact is not None and (
        listed := mirror_status.listed(before.get("mirrors") or [], seen.artifact.spec.mirrors, plan.states)
    ):
        body["mirrors"] = listed
    body["conditions"] = rendered(_conditions(seen, plan), before.get("conditions") or [], seen.generation, now)
    return body


def differs(before: Object, after: Object) -> bool:
    """Whether there is anything to write."""
    return _comparable(before) != _comparable(after)


def turned(before: Object, after: Object) -> bool:
    """Whether something else than amounts changed: such a status is written at once."""
    return _verdicts(before) != _verdicts(after)


def notices(before: Object, after: Object) -> list[EventRecord]:
    """The Events between two statuses: what became Stalled, Retrying or Refused, what became of mirrors,
    and when the whole became Ready."""
    was = {copy["name"]: copy for copy in before.get("copies") or []}
    found = []
    for copy in after.get("copies") or []:
        old = was.get(copy["name"], {})
        bad = copy["state"] in ("Stalled", "Retrying")
        if bad and (copy["state"], copy.get("reason")) != (old.get("state"), old.get("reason")):
            found.append(EventRecord(copy["reason"], copy.get("message", ""), warning=True))
    found += mirror_status.notices(before.get("mirrors") or [], after.get("mirrors") or [])
    listed = {notice.reason for notice in found}
    stalled, stalled_before = _condition(after, STALLED), _condition(before, STALLED)
    if stalled and stalled["reason"] != stalled_before.get("reason") and stalled["reason"] not in listed:
        found.append(EventRecord(stalled["reason"], stalled["message"], warning=True))
    ready, ready_before = _condition(after, READY), _condition(before, READY)
    if ready["reason"] == REFUSED != ready_before.get("reason"):
        found.append(EventRecord(REFUSED, ready["message"], warning=True))
    if ready.get("status") == "True" and ready_before.get("status") != "True":
        found.append(EventRecord("Ready", ready["message"]))
    return found


def _model(before: Object, plan: Plan) -> Object:
    """What the model is; while a new source is being resolved, what it was."""
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


def _amounts(before: Object, plan: Plan) -> Object:
    if not plan.states:
        keep = ("bytes", "nodes", "summary", "checksum") if plan.manifest is None else ()
        return {key: before[key] for key in keep if key in before}
    states = plan.states
    done, total = sum(s.done for s in states), sum(s.total for s in states)
    speed = sum(s.speed for s in states)
    ready = sum(s.state == "Ready" for s in states)
    etas = [s.eta for s in states if s.eta is not None]
    percent = done * 100 // total if total else (100 if ready == len(states) else 0)
    summary = {"nodes": f"{ready}/{len(states)}", "progress": f"{percent}%"}
    summary |= {"speed": rate_column(speed)} if speed >= 1 else {}
    summary |= {"eta": duration_text(max(etas))} if etas and ready < len(states) else {}
    return {
        "bytes": {
            "done": done,
            "verified": sum(s.verified for s in states),
            "total": total,
            "percent": percent,
            "perSecond": int(speed),
        },
        "nodes": {"total": len(states), "ready": ready, "stalled": sum(s.state == "Stalled" for s in states)},
        "summary": summary,
        "checksum": _checksum(states),
        "copies": [_copy(state) for state in _sorted(states)[:MAX_COPIES]],
    }


def _checksum(states: tuple[NodeState, ...]) -> str:
    found = {state.checksum for state in states}
    return next((word for word in ("Mismatch", "Pending", "Unknown") if word in found), "Verified")


def _sorted(states: tuple[NodeState, ...]) -> list[NodeState]:
    return sorted(states, key=lambda state: (STATES.index(state.state), state.node))


def _copy(state: NodeState) -> Object:
    body: dict[str, Any] = {
        "name": state.node or "claim",
        "state": state.state,
        "checksum": state.checksum,
        "bytesDone": state.done,
        "bytesVerified": state.verified,
        "bytesTotal": state.total,
        "percent": state.done * 100 // state.total if state.total else (100 if state.state == "Ready" else 0),
    }
    body |= {"reason": state.reason} if state.reason else {}
    body |= {"message": state.message[:1024]} if state.message else {}
    body |= {"perSecond": int(state.speed)} if state.speed >= 1 else {}
    body |= {"retries": state.retries} if state.retries else {}
    body |= {"limitPerSecond": state.limit} if state.limit is not None else {}
    return body


def _conditions(seen: Observed, plan: Plan) -> list[Condition]:
    ready, working, stalled = _verdict(seen, plan)
    first = ready or stalled or working
    assert first is not None
    found = [Condition(READY, ready is not None, *first)]
    if working:
        found.append(Condition(RECONCILING, True, *working))
    if stalled:
        found.append(Condition(STALLED, True, *stalled))
    return found


def _verdict(
    seen: Observed, plan: Plan
) -> tuple[tuple[str, str] | None, tuple[str, str] | None, tuple[str, str] | None]:
    """(reason, message) of being ready, of working, of being stalled; work may go on beside a stalled node."""
    if plan.hold:
        told = plan.hold.reason, plan.hold.message
        return (None, None, told) if plan.hold.stalled else (None, told, None)
    if not plan.states:
        return None, ("Reconciling", "the artifact is being looked at"), None
    bad = [state for state in plan.states if state.state == "Stalled"]
    open_ = [state for state in _sorted(plan.states) if state.state not in ("Stalled", "Ready")]
    if not bad and not open_:
        return ("Verified", f"Ready {_where(seen, len(plan.states))}"), None, None
    working = (open_[0].state, _working(open_)) if open_ else None
    stalled = (bad[0].reason, bad[0].message + (f" (and {len(bad) - 1} more)" if len(bad) > 1 else "")) if bad else None
    return None, working, stalled


def _where(seen: Observed, count: int) -> str:
    assert seen.artifact is not None
    storage = seen.artifact.spec.storage
    if isinstance(storage, ExistingClaim):
        return f"in claim {storage.name}"
    return f"on {count} node{'s' if count > 1 else ''}"


def _working(states: list[NodeState]) -> str:
    first = states[0]
    more = f" and {len(states) - 1} more" if len(states) > 1 else ""
    where = f" on {first.node}{more}" if first.node else ""
    detail = f": {first.message}" if first.message else ""
    return f"{first.state}{where}{detail}"


def _condition(body: Object, type_: str) -> Object:
    return next((dict(c) for c in body.get("conditions") or [] if c["type"] == type_), {})


def _comparable(body: Object) -> Object:
    conditions = [
        {key: value for key, value in condition.items() if key != "lastTransitionTime"}
        for condition in sorted(body.get("conditions") or [], key=lambda c: str(c["type"]))
    ]
    copies = sorted(body.get("copies") or [], key=lambda copy: str(copy["name"]))
    return dict(body) | {"conditions": conditions, "copies": copies}


def _verdicts(body: Object) -> Object:
    conditions = [(c["type"], c["status"], c["reason"]) for c in _comparable(body)["conditions"]]
    copies = [(copy["name"], copy["state"], copy.get("reason")) for copy in _comparable(body)["copies"]]
    model = [body.get(key) for key in ("observedGeneration", "revision")]
    listed = mirror_status.verdicts(body.get("mirrors") or [])
    return {"conditions": conditions, "copies": copies, "model": model, "mirrors": listed}
