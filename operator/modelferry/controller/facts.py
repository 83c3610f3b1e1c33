"""The observed state of the cluster: frozen data that holds only what the plan needs."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any

from modelferry.controller import pod_diagnosis
from modelferry.manifest import Manifest
from modelferry.messages import Outcome, Progress
from modelferry.messages.earlier_revisions import MountWindow
from modelferry.resource import names
from modelferry.resource.spec import Spec

Object = dict[str, Any]


@dataclass(frozen=True, slots=True)
class Taint:
    """A core/v1 Taint."""

    key: str
    value: str
    effect: str


@dataclass(frozen=True, slots=True)
class NodeFacts:
    """A node: ``ready`` is its condition Ready; ``boot`` is a fingerprint of its current boot ID."""

    name: str
    labels: Mapping[str, str]
    taints: tuple[Taint, ...]
    ready: bool
    boot: str = ""


@dataclass(frozen=True, slots=True)
class PodFacts:
    """One of our pods. ``role``: resolve, fetch, prepare or remove; ``key`` identifies its input.

    ``created`` and ``finished`` (when its main container terminated) are in seconds of the epoch; ``outcome`` is that
    container's termination message, and ``death`` how it ended if it left none (out of memory, evicted, preempted).
    ``lingering``: another container, which something added to the pod, still runs although the main one has ended.
    ``start_error``: why it does not start (unschedulable, image cannot be pulled), empty if no error is known.
    ``boot``: its node's when it was created. ``limits`` and ``share`` are its annotations of these names, None if it
    has none.
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
    death: Outcome | None = None
    lingering: bool = False
    start_error: str = ""
    boot: str = ""
    limits: str | None = None
    share: str | None = None


@dataclass(frozen=True, slots=True)
class ClaimFacts:
    """A PersistentVolumeClaim; ``ours``: the artifact owns it."""

    name: str
    ours: bool
    phase: str
    deleting: bool
    uid: str = ""


@dataclass(frozen=True, slots=True)
class VolumeFacts:
    """One of our PersistentVolumes."""

    name: str
    phase: str
    deleting: bool


@dataclass(frozen=True, slots=True)
class Consumer:
    """A foreign pod that mounts the model and has not terminated. ``window``: when it did so."""

    name: str
    window: MountWindow


@dataclass(frozen=True, slots=True)
class ArtifactFacts:
    """The ModelArtifact. ``document`` is the resource; ``spec`` its parsed spec, or None and ``spec_error`` says why.

    ``input_key`` identifies everything that its pods read when they start (`children.config_maps.input_key`); it is
    empty if ``spec`` is None.
    """

    document: Object
    spec: Spec | None
    spec_error: str = ""
    input_key: str = ""

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
        """Whether the artifact has a deletionTimestamp."""
        return bool(self.document["metadata"].get("deletionTimestamp"))

    @property
    def has_finalizer(self) -> bool:
        """Whether it carries our finalizer."""
        return names.FINALIZER in (self.document["metadata"].get("finalizers") or [])

    @property
    def last_status(self) -> Object:
        """The status as it was last written. Only `artifact_status` and `artifact_events` read it: see there."""
        return dict(self.document.get("status") or {})

    @property
    def valid_spec(self) -> Spec:
        """``spec``, for what runs only after the plan has checked that it is not None."""
        assert self.spec is not None
        return self.spec


@dataclass(frozen=True, slots=True)
class Observed:
    """The observed state of one artifact and of all that belongs to it.

    ``logged_manifest``: the encoded manifest in the resolve pod's log, read while no manifest is stored. ``progress``
    is by pod. ``consumers``: pods that mount the model, by node, read while a copy is to be removed or a
    download is to start.
    ``namespace_terminating``: the API server creates no more objects in the artifact's namespace.
    """

    artifact: ArtifactFacts
    nodes: tuple[NodeFacts, ...] = ()
    pods: tuple[PodFacts, ...] = ()
    claims: Mapping[str, ClaimFacts] = field(default_factory=dict)
    volumes: Mapping[str, VolumeFacts] = field(default_factory=dict)
    config_maps: frozenset[str] = frozenset()
    manifest: Manifest | None = None
    logged_manifest: bytes | None = None
    progress: Mapping[str, Progress] = field(default_factory=dict)
    consumers: Mapping[str, tuple[Consumer, ...]] = field(default_factory=dict)
    namespace_terminating: bool = False

    def pods_of(self, role: str, node: str | None = None) -> list[PodFacts]:
        """Our pods in a role, and on a node if one is given, newest attempt first."""
        return pods_of(self.pods, role, node)


def pods_of(pods: Iterable[PodFacts], role: str, node: str | None = None) -> list[PodFacts]:
    """Those of `pods` in a role, and on a node if one is given, newest attempt first."""
    mine = [pod for pod in pods if pod.role == role and node in (None, pod.node)]
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
    """The facts of one of our core/v1 Pods; `main` names its main container."""
    meta, status = pod["metadata"], pod.get("status") or {}
    annotations, labels = meta.get("annotations") or {}, meta.get("labels") or {}
    terminated = pod_diagnosis.terminated(status, main)
    outcome = Outcome.decode(terminated.get("message") or "") if terminated else None
    return PodFacts(
        name=meta["name"],
        namespace=meta["namespace"],
        uid=meta["uid"],
        role=labels.get(names.LABEL_ROLE, ""),
        node=annotations.get(names.ANNOTATION_NODE, ""),
        key=annotations.get(names.ANNOTATION_KEY, ""),
        attempt=int(annotations.get(names.ANNOTATION_ATTEMPT, "1")),
        phase=status.get("phase", "Pending"),
        created=epoch(meta.get("creationTimestamp")) or 0.0,
        ip=status.get("podIP", ""),
        deleting=bool(meta.get("deletionTimestamp")),
        finished=epoch(terminated.get("finishedAt")) if terminated else None,
        outcome=outcome,
        death=pod_diagnosis.death(pod, main) if outcome is None else None,
        lingering=pod_diagnosis.is_lingering(pod, main),
        start_error=pod_diagnosis.start_error(pod),
        boot=annotations.get(names.ANNOTATION_BOOT, ""),
        limits=annotations.get(names.ANNOTATION_LIMITS),
        share=annotations.get(names.ANNOTATION_SHARE),
    )


def claim_facts(claim: Object, owner_uid: str) -> ClaimFacts:
    """The facts of a core/v1 PersistentVolumeClaim."""
    meta = claim["metadata"]
    ours = any(owner.get("uid") == owner_uid for owner in meta.get("ownerReferences") or [])
    phase = (claim.get("status") or {}).get("phase", "Pending")
    return ClaimFacts(meta["name"], ours, phase, bool(meta.get("deletionTimestamp")), meta.get("uid", ""))


def volume_facts(volume: Object) -> VolumeFacts:
    """The facts of a core/v1 PersistentVolume."""
    meta = volume["metadata"]
    phase = (volume.get("status") or {}).get("phase", "Pending")
    return VolumeFacts(meta["name"], phase, bool(meta.get("deletionTimestamp")))


def consumer_facts(pod: Object, *, sub_path: bool) -> Consumer:
    """The facts of a core/v1 Pod that mounts the model, by a subPath or as a volume of its own."""
    meta, status = pod["metadata"], pod.get("status") or {}
    # Without a startTime the kubelet has not reported the pod yet, but may have mounted its volumes.
    earliest = epoch(status.get("startTime") or meta.get("creationTimestamp")) or 0.0
    return Consumer(meta["name"], MountWindow(earliest, _latest_mount(status, sub_path=sub_path)))


def _latest_mount(status: Object, *, sub_path: bool) -> float | None:
    """When the pod had mounted its volumes at the latest, None if that is not certain yet.

    The kubelet mounts volumes before it creates the pod's sandbox, again after a reboot, and a subPath before each
    start of a container.
    """
    sandbox = [one for one in status.get("conditions") or [] if one["type"] == "PodReadyToStartContainers"]
    if sandbox and sandbox[0]["status"] != "True":
        return None
    times = [sandbox[0].get("lastTransitionTime")] if sandbox else []
    if sub_path or not sandbox:
        times += _container_starts(status)
    return max((epoch(time) or 0.0 for time in times), default=None)


def _container_starts(status: Object) -> list[str]:
    statuses = [*(status.get("initContainerStatuses") or []), *(status.get("containerStatuses") or [])]
    states = [state for one in statuses for state in ((one.get("state") or {}), (one.get("lastState") or {}))]
    starts = [(state.get(kind) or {}).get("startedAt") for state in states for kind in ("running", "terminated")]
    return [start for start in starts if start]


def is_terminating(namespace: Object | None) -> bool:
    """Whether a core/v1 Namespace is being deleted, or is gone."""
    return namespace is None or bool(namespace["metadata"].get("deletionTimestamp"))


def epoch(text: str | None) -> float | None:
    """An RFC 3339 time in seconds of the epoch, None for None."""
    return datetime.fromisoformat(text).timestamp() if text else None
