"""Removes the directories of deleted artifacts from a node that was away when they were deleted.

An artifact's deletion does not wait for a node that does not exist. If its kubelet registers it again, the node has no
labels, but still its directories. So each Node object is checked once: a pod lists the directories on it that belong to
this cluster (`agent.directory_owners`). Those whose artifacts exist get the copy label again, and the artifacts decide
about them. The others are removed. Then the node gets a label, which is lost with the Node object.

A uid that is in the list of a pod existed before the artifacts were listed. So if it is not among these, it was
deleted, and never comes back.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field

from modelferry.controller import facts, pod_attempts
from modelferry.controller.actions import Action, Create, LabelNode, SetFinalizer
from modelferry.controller.apply import apply_change
from modelferry.controller.children.pods import ORPHANS, orphans_labels, orphans_pod
from modelferry.controller.facts import NodeFacts, PodFacts
from modelferry.controller.kube import APIError, Kube
from modelferry.controller.pod_attempts import Failed, NotStarted, Running, Succeeded
from modelferry.controller.settings import Settings
from modelferry.controller.step_result import StepResult
from modelferry.controller.work_queue import Key
from modelferry.messages.owned_directories import OwnedDirectory, decode_directories
from modelferry.resource import KIND, names

_log = logging.getLogger(__name__)

#: Pods that run at once in the cluster, and directories that one of them removes.
_MAX_PODS, _MAX_REMOVALS = 5, 50
#: Seconds until the next check while other nodes are cleaned, or a log cannot be read.
_REQUEUE = 5.0


@dataclass(frozen=True, slots=True)
class NodeState:
    """What a check of one node uses. ``age``: seconds since its registration. ``pods``: those that check it, newest
    first; ``busy``: the number of those that run, on all nodes. ``directories``: as the newest pod listed them, None if
    it has not or its log cannot be read. ``artifacts``: (namespace, name) of all artifacts by uid, read after that."""

    node: NodeFacts
    age: float
    pods: tuple[PodFacts, ...] = ()
    busy: int = 0
    directories: tuple[OwnedDirectory, ...] | None = None
    artifacts: Mapping[str, tuple[str, str]] = field(default_factory=dict)


def is_checked(node: NodeFacts) -> bool:
    """Whether nothing is left to do on `node`."""
    return names.CHECKED_LABEL in node.labels


def plan_cleanup(state: NodeState, settings: Settings, now: float) -> StepResult:
    """What has to be done about one node, `now` in seconds of the epoch. Nothing and no requeue: it is done. Pure."""
    node = state.node
    attempt, deletions = pod_attempts.evaluate(list(state.pods), "", now)
    if is_checked(node) or settings.orphans_after is None:
        return StepResult(tuple(pod_attempts.delete_pod(pod) for pod in state.pods if not pod.deleting))
    match attempt:
        case NotStarted() if not node.ready:
            return StepResult(tuple(deletions), requeue_after=settings.resync)
        case NotStarted() if state.age < settings.orphans_after:
            # A provisioner may add the labels that select the node after its registration.
            return StepResult(tuple(deletions), requeue_after=max(_REQUEUE, settings.orphans_after - state.age))
        case NotStarted() if state.busy >= _MAX_PODS:
            return StepResult(tuple(deletions), requeue_after=_REQUEUE)
        case NotStarted(number):
            create = Create(orphans_pod(settings, node.name, number, ()))
            return StepResult((*deletions, create), requeue_after=settings.resync)
        case Running():
            return StepResult(tuple(deletions), requeue_after=settings.resync)
        case Failed(_, _, retry_after):
            return StepResult(tuple(deletions), requeue_after=retry_after or settings.resync)
        case Succeeded(pod) if state.directories is None:
            return _unreadable_log(settings, node, pod, deletions, now)
        case Succeeded(pod):
            return _compare(state, settings, pod, deletions)


def _compare(state: NodeState, settings: Settings, pod: PodFacts, deletions: list[Action]) -> StepResult:
    """The directories that exist and the artifacts that exist."""
    directories, node = state.directories or (), state.node
    if orphans := [one for one in directories if one.uid not in state.artifacts][:_MAX_REMOVALS]:
        create = Create(orphans_pod(settings, node.name, pod.attempt + 1, orphans))
        return StepResult((*deletions, create), requeue_after=settings.resync)
    copies = (names.copy_label(*state.artifacts[one.uid]) for one in directories)
    labels = [LabelNode(node.name, key, "") for key in copies if key not in node.labels]
    checked = LabelNode(node.name, names.CHECKED_LABEL, "true")
    return StepResult((*deletions, *labels, checked, pod_attempts.delete_pod(pod)))


def _unreadable_log(
    settings: Settings, node: NodeFacts, pod: PodFacts, deletions: list[Action], now: float
) -> StepResult:
    """The log may be readable again soon; otherwise another pod lists the directories."""
    if now - (pod.finished or pod.created) < _REQUEUE * 2**pod.attempt:
        return StepResult(tuple(deletions), requeue_after=_REQUEUE)
    create = Create(orphans_pod(settings, node.name, pod.attempt + 1, ()))
    return StepResult((*deletions, create), requeue_after=settings.resync)


class OrphanCleanup:
    """Observes, plans and applies for one node at a time. `clock` gives seconds of the epoch."""

    def __init__(self, kube: Kube, settings: Settings, clock: Callable[[], float]) -> None:
        self._kube, self._settings, self._clock = kube, settings, clock

    async def clean(self, key: Key) -> float | None:
        """One check of the node that is the second part of `key`. Returns seconds until the next, None if it is done.
        Raises APIError."""
        state = await self._observe(key[1])
        if state is None:
            return None
        made = plan_cleanup(state, self._settings, self._clock())
        if state.directories and any(isinstance(action, Create) for action in made.actions):
            _log.info("node %s: removing the directories of deleted artifacts", state.node.name)
        for action in made.actions:
            if not isinstance(action, SetFinalizer):
                await apply_change(self._kube, action)
        return made.requeue_after

    async def _observe(self, name: str) -> NodeState | None:
        document, listed = await asyncio.gather(
            self._kube.get("Node", name), self._kube.list("Pod", self._settings.namespace, orphans_labels())
        )
        if document is None:
            return None
        node = facts.node_facts(document)
        pods = [facts.pod_facts(pod, ORPHANS) for pod in listed]
        mine = tuple(facts.pods_of(pods, ORPHANS, name))
        directories = None if is_checked(node) else await self._directories(mine)
        age = self._clock() - (facts.epoch(document["metadata"].get("creationTimestamp")) or 0.0)
        busy = sum(pod.finished is None for pod in pods)
        artifacts = await self._artifacts() if directories else {}
        return NodeState(node, age, mine, busy, directories, artifacts)

    async def _directories(self, pods: tuple[PodFacts, ...]) -> tuple[OwnedDirectory, ...] | None:
        if not pods or not (pods[0].outcome and pods[0].outcome.ok) or pods[0].deleting:
            return None
        try:
            return decode_directories(await self._kube.logs(pods[0].namespace, pods[0].name, ORPHANS))
        except (APIError, ValueError):
            return None

    async def _artifacts(self) -> dict[str, tuple[str, str]]:
        found = [document["metadata"] for document in await self._kube.list(KIND)]
        return {meta["uid"]: (meta["namespace"], meta["name"]) for meta in found}
