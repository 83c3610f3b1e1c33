"""What the plan goes by: the cluster as it stands, in frozen data without anything that the plan does not need."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any

from modelferry.manifest import Manifest
from modelferry.messages import Outcome, Progress
from modelferry.resource import names
from modelferry.resource.spec import Artifact

Object = dict[str, Any]


@dataclass(frozen=True, slots=True)
class Taint:
    """A core/v1 Taint."""

    key: str
    value: str
    effect: str


@dataclass(frozen=True, slots=True)
class NodeFacts:
    """A node: ``ready`` is its kubelet's own word; ``boot`` stands for the boot that it runs since."""

    name: str
    labels: Mapping[str, str]
    taints: tuple[Taint, ...]
    ready: bool
    boot: str = ""


@dataclass(frozen=True, slots=True)
class PodFacts:
    """One of our pods. ``role``: resolve, fetch, prepare or remove; ``key`` stands for the input that it works on.

    ``created`` and ``finished`` (when its main container ended) are in seconds of the epoch; ``outcome`` is what that
    left behind.
    ``trouble`` is why it does not get going (unschedulable, image cannot be pulled), empty where nothing is known.
    ``limits`` and ``share`` are its annotations of these names; None where there is none.
    """

    name: str
    namespace: str
    uid: str
    role: str
    node: str
    key: str
    attempt: int
    phase: str
    created: float = 0.0
    ip: str = ""
    deleting: bool = False
    finished: float | None = None
    outcome: Outcome | None = None
    trouble: str = ""
    limits: str | None = None
    share: str | None = None


@dataclass(frozen=True, slots=True)
class ClaimFacts:
    """A PersistentVolumeClaim; ``ours``: we made it for this very artifact."""

    name: str
    ours: bool
    phase: str
    deleting: bool


@dataclass(frozen=True, slots=True)
class VolumeFacts:
    """One of our PersistentVolumes."""

    name: str
    phase: str
    deleting: bool


@dataclass(frozen=True, slots=True)
class Observed:
    """Everything about one artifact. ``document`` is the resource itself; ``artifact`` its checked spec, or None and
    ``fault`` says why not. ``printed`` is what the resolve pod printed while no manifest is stored; ``progress`` is by
    pod, ``consumers`` are pods by node (asked for only where somebody leaves)."""

    document: Object
    artifact: Artifact | None
    fault: str
    nodes: tuple[NodeFacts, ...] = ()
    pods: tuple[PodFacts, ...] = ()
    claims: Mapping[str, ClaimFacts] = field(default_factory=dict)
    volumes: Mapping[str, VolumeFacts] = field(default_factory=dict)
    config_maps: frozenset[str] = frozenset()
    manifest: Manifest | None = None
    printed: bytes | None = None
    progress: Mapping[str, Progress] = field(default_factory=dict)
    consumers: Mapping[str, tuple[str, ...]] = field(default_factory=dict)

    @property
    def name(self) -> str:
        """The artifact's name."""
        return str(self.document["metadata"]["name"])

    @property
    def namespace(self) -> str:
        """The artifact's namespace."""
        return str(self.document["metadata"]["namespace"])

    @property
    def uid(self) -> str:
        """The artifact's uid."""
        return str(self.document["metadata"]["uid"])

    @property
    def generation(self) -> int:
        """The spec's generation."""
        return int(self.document["metadata"].get("generation", 0))

    @property
    def deleting(self) -> bool:
        """Whether somebody deleted the artifact."""
        return bool(self.document["metadata"].get("deletionTimestamp"))

    @property
    def finalized(self) -> bool:
        """Whether our finalizer is on it."""
        return names.FINALIZER in (self.document["metadata"].get("finalizers") or [])

    @property
    def status(self) -> Object:
        """The status as it is written in the cluster."""
        return dict(self.document.get("status") or {})

    def pods_of(self, role: str, node: str | None = None) -> list[PodFacts]:
        """Our pods in a role, and on a node where one is given, newest attempt first."""
        mine = [pod for pod in self.pods if pod.role == role and node in (None, pod.node)]
        return sorted(mine, key=lambda pod: (-pod.attempt, pod.name))


def node_facts(node: Object) -> NodeFacts:
    """The facts of a core/v1 Node."""
    taints = [Taint(t["key"], t.get("value", ""), t["effect"]) for t in node.get("spec", {}).get("taints") or []]
    conditions = node.get("status", {}).get("conditions") or []
    ready = any(c["type"] == "Ready" and c["status"] == "True" for c in conditions)
    boot = (node.get("status", {}).get("nodeInfo") or {}).get("bootID", "")
    meta = node["metadata"]
    return NodeFacts(
        meta["name"], meta.get("labels") or {}, tuple(taints), ready, names.fingerprint(boot) if boot else ""
    )


def pod_facts(pod: Object, main: str) -> PodFacts:
    """The facts of a core/v1 Pod of ours whose main container is called `main`."""
    meta, status = pod["metadata"], pod.get("status") or {}
    notes, labels = meta.get("annotations") or {}, meta.get("labels") or {}
    terminated = _terminated(status, main)
    outcome = Outcome.decode(terminated.get("message") or "") if terminated else None
    return PodFacts(
        name=meta["name"],
        namespace=meta["namespace"],
        uid=meta["uid"],
        role=labels.get(names.LABEL_ROLE, ""),
        node=notes.get(names.ANNOTATION_NODE, ""),
        key=notes.get(names.ANNOTATION_KEY, ""),
        attempt=int(notes.get(names.ANNOTATION_ATTEMPT, "1")),
        phase=status.get("phase", "Pending"),
        created=epoch(meta.get("creationTimestamp")) or 0.0,
        ip=status.get("podIP", ""),
        deleting=bool(meta.get("deletionTimestamp")),
        finished=epoch(terminated.get("finishedAt")) if terminated else None,
        outcome=outcome,
        trouble=_trouble(status),
        limits=notes.get(names.ANNOTATION_LIMITS),
        share=notes.get(names.ANNOTATION_SHARE),
    )


def claim_facts(claim: Object, owner_uid: str) -> ClaimFacts:
    """The facts of a core/v1 PersistentVolumeClaim."""
    meta = claim["metadata"]
    ours = any(owner.get("uid") == owner_uid for owner in meta.get("ownerReferences") or [])
    phase = (claim.get("status") or {}).get("phase", "Pending")
    return ClaimFacts(meta["name"], ours, phase, bool(meta.get("deletionTimestamp")))


def volume_facts(volume: Object) -> VolumeFacts:
    """The facts of a core/v1 PersistentVolume."""
    meta = volume["metadata"]
    phase = (volume.get("status") or {}).get("phase", "Pending")
    return VolumeFacts(meta["name"], phase, bool(meta.get("deletionTimestamp")))


def epoch(text: str | None) -> float | None:
    """An RFC 3339 time in seconds of the epoch."""
    return datetime.fromisoformat(text).timestamp() if text else None


def _terminated(status: Object, main: str) -> Object:
    for container in status.get("containerStatuses") or []:
        if container["name"] == main:
            return (container.get("state") or {}).get("terminated") or {}
    return {}


#: Why a container does not start; other words (ContainerCreating, PodInitializing) are ordinary.
_TROUBLES = {"ErrImagePull", "ImagePullBackOff", "ErrImageNeverPull", "InvalidImageName", "CreateContainerConfigError",
             "CreateContainerError", "CrashLoopBackOff", "RunContainerError"}  # fmt: skip


def _trouble(status: Object) -> str:
    for condition in status.get("conditions") or []:
        if condition["type"] == "PodScheduled" and condition["status"] == "False":
            return f"{condition.get('reason', '')}: {condition.get('message', '')}"
    for container in [*(status.get("initContainerStatuses") or []), *(status.get("containerStatuses") or [])]:
        state, last = container.get("state") or {}, container.get("lastState") or {}
        ended = state.get("terminated") or last.get("terminated") or {}
        waiting = state.get("waiting") or {}
        if ended.get("exitCode") and not state.get("running"):
            said = (ended.get("message") or "").strip()
            return f"container {container['name']} ended with exit code {ended['exitCode']}: {said[-500:]}"
        if waiting.get("reason") in _TROUBLES:
            return f"{waiting['reason']}: {waiting.get('message', '')}"
    return ""
