"""First: the input ConfigMap, the resolve pod, and what it printed as an immutable manifest ConfigMap."""

from __future__ import annotations

from modelferry.controller import pod_attempts
from modelferry.controller.actions import Action, Create, EventRecord
from modelferry.controller.children import config_maps
from modelferry.controller.children.pods import resolve_pod
from modelferry.controller.facts import Observed, PodFacts
from modelferry.controller.pod_attempts import Done, Failed, Start
from modelferry.controller.settings import Settings
from modelferry.controller.states import Blocker, Step
from modelferry.messages import Outcome


def resolve(seen: Observed, settings: Settings, now: float) -> Step:
    """Has no hold when the manifest is known."""
    actions: list[Action] = []
    if config_maps.input_name(seen, settings) not in seen.config_maps:
        actions.append(Create(config_maps.input_map(seen, settings)))
    if seen.manifest is not None:
        actions += [pod_attempts.delete_pod(pod) for pod in seen.pods_of("resolve") if not pod.deleting]
        return Step(tuple(actions))
    job, drops = pod_attempts.judge(seen.pods_of("resolve"), config_maps.input_key(seen, settings), now)
    match job:
        case Start(attempt):
            hold = Blocker("Resolving", "asking the source which files there are")
            return Step((*actions, *drops, Create(resolve_pod(seen, settings, attempt))), hold=hold)
        case Done(pod, _) if seen.printed is not None:
            notice = EventRecord("Resolved", "the source answered; the manifest is pinned")
            create = Create(config_maps.manifest_map(seen, seen.printed))
            return Step(
                (*actions, *drops, create), (notice,), Blocker("Resolving", "the manifest is being stored"), 0.0
            )
        case Done(pod, _):
            return _lost(seen, settings, now, pod, (*actions, *drops))
        case Failed(_, outcome, wait):
            hold = Blocker(outcome.reason, outcome.message, job.stalled)
            return Step((*actions, *drops), hold=hold, again=wait)
        case _:
            message = job.pod.trouble or "asking the source which files there are"
            return Step((*actions, *drops), hold=Blocker("Resolving", message))


def _lost(seen: Observed, settings: Settings, now: float, pod: PodFacts, actions: tuple[Action, ...]) -> Step:
    """The pod's log cannot be read (its node does not answer, it was rotated): it may come back, or another asks."""
    lost = Outcome(False, "ManifestLost", "transient")
    wait = (pod.finished or pod.created) + (pod_attempts.retry_delay(lost, pod.attempt) or 0.0) - now
    hold = Blocker("Resolving", f"the log of pod {pod.name}, which holds the manifest, cannot be read yet")
    if wait > 0:
        return Step(actions, hold=hold, again=wait)
    return Step((*actions, Create(resolve_pod(seen, settings, pod.attempt + 1))), hold=hold)
