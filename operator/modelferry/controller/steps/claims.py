"""Step 2: the storage. Node-local: two volumes and their claims. Otherwise: the claim that the user created."""

from __future__ import annotations

from modelferry.controller.actions import Action, Create, Delete
from modelferry.controller.children import volumes
from modelferry.controller.facts import Object, Observed
from modelferry.controller.settings import Settings
from modelferry.controller.step_result import Blocker, StepResult
from modelferry.manifest import Manifest
from modelferry.resource import names

#: Seconds until a claim that the user has to create or delete is checked again: only our own claims are watched.
_REQUEUE = 10.0


def existing_claim(observed: Observed, name: str) -> StepResult:
    """Has no blocker when the user's claim exists."""
    if name in observed.claims:
        return StepResult()
    where = f"namespace {observed.artifact.namespace!r}"
    message = f"claim {name!r} does not exist in {where}: create it, or correct spec.storage.claim.name"
    return StepResult(blocker=Blocker("ClaimMissing", message, stalled=True), requeue_after=_REQUEUE)


def node_local(observed: Observed, settings: Settings, manifest: Manifest) -> StepResult:
    """Creates both volumes and claims; has a blocker only if a claim's name is taken. See `writer_bound`."""
    if (taken := _taken_claim_name(observed)) is not None:
        return taken
    artifact = observed.artifact
    reader = volumes.reader_volume(artifact, settings, manifest), volumes.reader_claim(artifact, manifest)
    writer = volumes.writer_volume(artifact, settings, manifest), volumes.writer_claim(artifact, manifest)
    actions = [*_ensure_pair(observed, *writer), *_ensure_pair(observed, *reader)]
    bound = all(_is_bound(observed, name) for name in _claim_names(observed))
    return StepResult(tuple(actions), requeue_after=1.0 if actions or not bound else None)


def writer_bound(observed: Observed) -> bool:
    """Whether download pods can mount the writer's claim."""
    return _is_bound(observed, names.writer_claim(observed.artifact.name))


def _claim_names(observed: Observed) -> tuple[str, str]:
    return names.reader_claim(observed.artifact.name), names.writer_claim(observed.artifact.name)


def _is_bound(observed: Observed, name: str) -> bool:
    return name in observed.claims and observed.claims[name].phase == "Bound"


def _taken_claim_name(observed: Observed) -> StepResult | None:
    for name in _claim_names(observed):
        claim = observed.claims.get(name)
        if claim and not claim.ours:
            where = f"claim {name!r} in namespace {observed.artifact.namespace!r}"
            remedy = "delete that claim, or give the artifact another name"
            blocker = Blocker("ClaimNameTaken", f"{where} belongs to someone else: {remedy}", stalled=True)
            return StepResult(blocker=blocker, requeue_after=_REQUEUE)
    return None


def _ensure_pair(observed: Observed, volume: Object, claim: Object) -> list[Action]:
    """The volume first; the claim when the volume is Available; both again if one of them lost the other."""
    existing = observed.volumes.get(volume["metadata"]["name"])
    mine = observed.claims.get(claim["metadata"]["name"])
    if existing is None:
        return [Create(volume)]
    if existing.deleting:
        return []
    if existing.phase in ("Released", "Failed"):
        return [Delete("PersistentVolume", existing.name)]
    if mine is None:
        return [Create(claim)] if existing.phase in ("Available", "Bound") else []
    if mine.phase == "Lost" and not mine.deleting:
        return [Delete("PersistentVolumeClaim", mine.name, observed.artifact.namespace)]
    return []
