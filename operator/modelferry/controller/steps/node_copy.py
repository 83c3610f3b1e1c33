"""Third, for each chosen node (and for the one download into an existing claim): directory, download, label."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

from modelferry.controller import pod_attempts
from modelferry.controller.actions import Action, Create, EventRecord, Label
from modelferry.controller.children import config_maps
from modelferry.controller.children.pods import fetch_pod, helper_pod
from modelferry.controller.facts import NodeFacts, Observed, PodFacts
from modelferry.controller.placement import blocked
from modelferry.controller.pod_attempts import Done, Failed, Going, Start
from modelferry.controller.settings import Settings
from modelferry.controller.states import NodeState, Step
from modelferry.controller.steps.claims import writer_bound
from modelferry.manifest import Manifest
from modelferry.messages import Outcome, Progress
from modelferry.messages.progress import DOWN, QUARANTINED
from modelferry.resource import names
from modelferry.values.quantities import rate_text, size_text

#: The sidecar's phases as the states of a node; what is not listed is Downloading.
_PHASES = {"starting": "Preparing", "verifying": "Verifying", "repairing": "Repairing", "recovering": "Verifying",
           "paused": "Paused"}  # fmt: skip


def local_copy(seen: Observed, settings: Settings, manifest: Manifest, node: NodeFacts, now: float) -> Step:
    """Brings `manifest` onto `node`, or looks after a reboot whether it is still there, one step further."""
    fetches, prepares = seen.pods_of("fetch", node.name), seen.pods_of("prepare", node.name)
    ready, copy = names.ready_label(seen.namespace, seen.name), names.copy_label(seen.namespace, seen.name)
    labelled = node.labels.get(ready) == manifest.revision
    if labelled and node.labels.get(copy) == node.boot:
        tidy = [pod_attempts.delete_pod(pod) for pod in [*fetches, *prepares] if not pod.deleting]
        return Step(tuple(tidy), state=_ready(node.name, manifest))
    if labelled and not node.ready:
        return Step(state=_ready(node.name, manifest))
    job, drops = pod_attempts.judge(fetches, config_maps.input_key(seen, settings), now)
    if labelled and _lost(seen, job):
        drops.append(Label(node.name, ready, None))
    match job:
        case Done(_, outcome):
            labels = Label(node.name, ready, manifest.revision), Label(node.name, copy, node.boot)
            notice = EventRecord("NodeReady", f"{node.name}: {_summary(outcome)}")
            state = replace(_ready(node.name, manifest), mirrors=outcome.mirrors)
            return Step((*drops, *labels), (notice,), state=state, again=0.0)
        case Start():
            step = _start(seen, settings, node, job, now)
            state = step.state or _waiting(node.name, manifest, "Starting", "the download pod starts")
            return Step((*drops, *step.actions), step.notices, again=step.again, state=_sized(state, manifest))
        case Going(pod):
            return Step(tuple(drops), state=_going(seen, manifest, pod, node.name), again=settings.status_interval)
        case Failed():
            return Step(tuple(drops), state=_failed(job, manifest, node.name), again=job.wait)


def _lost(seen: Observed, job: pod_attempts.State) -> bool:
    """Whether a labelled copy turned out not to be whole: bytes are being fetched, or the attempt failed."""
    if isinstance(job, Going):
        progress = seen.progress.get(job.pod.name)
        return progress is not None and progress.phase in ("fetching", "repairing")
    return isinstance(job, Failed) and job.outcome.reason != "PodDied"


def claim_copy(seen: Observed, settings: Settings, manifest: Manifest, now: float) -> Step:
    """Brings `manifest` into the user's claim. The finished pod stays: it is the record that the copy is whole."""
    job, drops = pod_attempts.judge(seen.pods_of("fetch", ""), config_maps.input_key(seen, settings), now)
    match job:
        case Done(_, outcome):
            return Step(tuple(drops), state=replace(_ready("", manifest), mirrors=outcome.mirrors))
        case Start(attempt):
            state = _waiting("", manifest, "Starting", "the download pod starts")
            return Step((*drops, Create(fetch_pod(seen, settings, "", attempt))), state=state)
        case Going(pod):
            return Step(tuple(drops), state=_going(seen, manifest, pod, ""), again=settings.status_interval)
        case Failed():
            return Step(tuple(drops), state=_failed(job, manifest, ""), again=job.wait)


def _start(seen: Observed, settings: Settings, node: NodeFacts, due: Start, now: float) -> Step:
    """The directory, then the download pod. A step without a state has started the pod."""
    assert seen.artifact is not None
    if why := blocked(node, seen.artifact.spec.nodes):
        return Step(state=NodeState(node.name, "Waiting", "NodeNotReady", why))
    job, drops = pod_attempts.judge(seen.pods_of("prepare", node.name), "", now)
    preparing = NodeState(node.name, "Preparing", "Preparing", "the directory is being made")
    match job:
        case Done() if writer_bound(seen):
            create = Create(fetch_pod(seen, settings, node.name, due.attempt))
            before = f"; the one before ended: {due.before}" if due.before else ""
            return Step(
                (*drops, create), (EventRecord("Downloading", f"{node.name}: attempt {due.attempt} starts{before}"),)
            )
        case Done():
            return Step(tuple(drops), state=preparing, again=1.0)
        case Start(helper_attempt):
            copy = Label(node.name, names.copy_label(seen.namespace, seen.name), "")
            helper = Create(helper_pod(seen, settings, "prepare", node.name, helper_attempt))
            return Step((*drops, copy, helper), state=preparing)
        case Going(pod):
            message = pod.trouble or preparing.message
            return Step(tuple(drops), state=NodeState(node.name, "Preparing", "Preparing", message))
        case Failed(_, outcome, wait):
            state = NodeState(node.name, "Stalled" if job.stalled else "Retrying", outcome.reason, outcome.message)
            return Step(tuple(drops), state=state, again=wait)


def _ready(node: str, manifest: Manifest) -> NodeState:
    checksum = "Verified" if all(file.digest for file in manifest.files) else "Unknown"
    size = manifest.size
    return NodeState(node, "Ready", done=size, verified=size, total=size, checksum=checksum)


def _waiting(node: str, manifest: Manifest, reason: str, message: str) -> NodeState:
    return NodeState(node, "Waiting", reason, message, total=manifest.size)


def _sized(state: NodeState, manifest: Manifest) -> NodeState:
    return NodeState(state.node, state.state, state.reason, state.message, total=manifest.size)


def _going(seen: Observed, manifest: Manifest, pod: PodFacts, node: str) -> NodeState:
    progress = seen.progress.get(pod.name)
    if progress is None:
        return _silent(seen, manifest, pod, node)
    state, said = _state(progress), _said(seen, node)
    # The sidecar hears of what is in flight once a second: two looks within one may see a little less than before.
    seen_before = said.get("bytesDone", 0) if said.get("state") == state else 0
    return NodeState(
        node=node,
        state=state,
        reason=state,
        message=progress.message,
        done=min(manifest.size, max(progress.done, progress.received, seen_before)),
        verified=progress.done,
        total=manifest.size,
        speed=progress.speed,
        eta=progress.eta,
        retries=progress.retries,
        checksum=_checksum(progress),
        mirrors=progress.mirrors,
        limit=progress.limit,
    )


def _state(progress: Progress) -> str:
    """Of a node whose download says `progress`; with every server down it waits for one, and fetches nothing. Where
    bytes came within the last seconds that is not said yet: streams that were reset together, and are asked for again
    at once, are nothing that a person has to know of."""
    idle = progress.phase in ("fetching", "repairing") and progress.speed < 1
    if idle and progress.mirrors and all(mirror.state in (DOWN, QUARANTINED) for mirror in progress.mirrors):
        return "Unavailable"
    return _PHASES.get(progress.phase, "Downloading")


def _silent(seen: Observed, manifest: Manifest, pod: PodFacts, node: str) -> NodeState:
    """A pod whose sidecar does not answer: it starts, or ends, or is slow; what it last said still stands."""
    if pod.phase == "Pending":
        return _waiting(node, manifest, "PodPending", pod.trouble or "the download pod starts")
    said = _said(seen, node)
    if said.get("state") not in {*_PHASES.values(), "Downloading", "Unavailable"}:
        return _waiting(node, manifest, "Starting", pod.trouble or "the download pod starts")
    amounts = said.get("bytesDone", 0), said.get("bytesVerified", 0)
    state, message = said["state"], said.get("message", "")
    return NodeState(node, state, state, message, *amounts, manifest.size, checksum=said.get("checksum", "Pending"))


def _said(seen: Observed, node: str) -> dict[str, Any]:
    """What the status says of a copy so far."""
    return next((copy for copy in seen.status.get("copies") or [] if copy["name"] == (node or "claim")), {})


def _checksum(progress: Progress) -> str:
    return {"mismatch": "Mismatch", "verified": "Verified", "unknown": "Unknown"}.get(progress.checksum, "Pending")


def _failed(job: Failed, manifest: Manifest, node: str) -> NodeState:
    outcome = job.outcome
    where = f"{node}: " if node and node not in outcome.message else ""
    checksum = "Mismatch" if outcome.reason == "DigestMismatch" else "Pending"
    state = "Stalled" if job.stalled else "Retrying"
    message = f"{where}{outcome.message}"
    done = outcome.bytes
    return NodeState(
        node, state, outcome.reason, message, done, done, manifest.size, checksum=checksum, mirrors=outcome.mirrors
    )


def _summary(outcome: Outcome) -> str:
    parts = [f"revision {outcome.revision} is verified: {size_text(outcome.bytes)}"]
    if outcome.seconds > 0:
        parts.append(f"{size_text(outcome.fetched)} fetched in {outcome.seconds:.0f} s")
        parts.append(rate_text(outcome.fetched / outcome.seconds))
    parts += [f"{outcome.retries} chunks tried again"] if outcome.retries else []
    parts += [f"{outcome.rehashed} chunks hashed again after an unclean boot"] if outcome.rehashed else []
    return ", ".join(parts)


def drop_foreign(seen: Observed, chosen: list[NodeFacts]) -> list[Action]:
    """Deletes the download pods of nodes that are not chosen or no longer exist."""
    wanted, existing = {node.name for node in chosen}, {node.name for node in seen.nodes}
    strays = [pod for pod in seen.pods if pod.role in ("fetch", "prepare") and pod.node not in wanted]
    return [
        pod_attempts.delete_pod(pod, at_once=pod.node not in existing)
        for pod in strays
        if not (pod.deleting and pod.node in existing)
    ]
