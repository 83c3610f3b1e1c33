"""Second: where the files go. Node-local: two volumes and their claims. Otherwise: the claim that the user made."""

from __future__ import annotations

from modelferry.controller.actions import Action, Create, Delete
from modelferry.controller.children import volumes
from modelferry.controller.facts import Object, Observed
from modelferry.controller.settings import Settings
from modelferry.controller.states import Blocker, Step
from modelferry.manifest import Manifest
from modelferry.resource import names

#: Seconds between two looks at a claim that somebody else has to make or remove: we do not watch all claims.
_LOOK = 10.0


def existing_claim(seen: Observed, name: str) -> Step:
    """Has no hold when the user's claim is there."""
    if name in seen.claims:
        return Step()
    message = f"claim {name!r} is not in namespace {seen.namespace!r}: create it, or correct spec.storage.claim.name"
    return Step(hold=Blocker("ClaimMissing", message, stalled=True), again=_LOOK)


def node_local(seen: Observed, settings: Settings, manifest: Manifest) -> Step:
    """Makes both volumes and claims; has a hold only where a claim's name is taken. See `writer_bound`."""
    if taken := _taken(seen):
        return taken
    reader = volumes.reader_volume(seen, settings, manifest), volumes.reader_claim(seen, manifest)
    writer = volumes.writer_volume(seen, settings, manifest), volumes.writer_claim(seen, manifest)
    actions = [*_pair(seen, *writer), *_pair(seen, *reader)]
    return Step(tuple(actions), again=1.0 if actions or not _bound(seen) else None)


def writer_bound(seen: Observed) -> bool:
    """Whether download pods can mount the writer's claim."""
    claim = seen.claims.get(names.writer_claim(seen.name))
    return claim is not None and claim.phase == "Bound"


def _taken(seen: Observed) -> Step | None:
    for name in (names.reader_claim(seen.name), names.writer_claim(seen.name)):
        claim = seen.claims.get(name)
        if claim and not claim.ours:
            way_out = "remove that claim, or give the artifact another name"
            message = f"claim {name!r} in namespace {seen.namespace!r} was not made for this artifact: {way_out}"
            return Step(hold=Blocker("ClaimNameTaken", message, stalled=True), again=_LOOK)
    return None


def _pair(seen: Observed, volume: Object, claim: Object) -> list[Action]:
    """The volume first; the claim when the volume is Available; both anew where one of them lost the other."""
    there = seen.volumes.get(volume["metadata"]["name"])
    mine = seen.claims.get(claim["metadata"]["name"])
    if there is None:
        return [Create(volume)]
    if there.deleting:
        return []
    if there.phase in ("Released", "Failed"):
        return [Delete("PersistentVolume", there.name)]
    if mine is None:
        return [Create(claim)] if there.phase in ("Available", "Bound") else []
    if mine.phase == "Lost" and not mine.deleting:
        return [Delete("PersistentVolumeClaim", mine.name, seen.namespace)]
    return []


def _bound(seen: Observed) -> bool:
    wanted = (names.reader_claim(seen.name), names.writer_claim(seen.name))
    return all(name in seen.claims and seen.claims[name].phase == "Bound" for name in wanted)
