"""Reads the observed state of one artifact from the API server and the sidecars, never from an event."""

from __future__ import annotations

import asyncio
import base64
import binascii
from collections.abc import Iterable

from modelferry.controller import facts
from modelferry.controller.children import config_maps
from modelferry.controller.children.metadata import labels
from modelferry.controller.facts import ArtifactFacts, Consumer, Object, Observed
from modelferry.controller.kube import APIError, Kube
from modelferry.controller.placement import deselected_nodes, may_start_download
from modelferry.controller.settings import Settings
from modelferry.controller.sidecars import SidecarClient
from modelferry.errors import InvalidSpec
from modelferry.manifest import Manifest, decode
from modelferry.messages.manifest_log import read_manifest
from modelferry.resource import API_VERSION, KIND, names
from modelferry.resource.parse import parse_artifact
from modelferry.resource.spec import ExistingClaim


class Observer:
    """Builds one `Observed` for each reconciliation. Every method raises APIError."""

    def __init__(self, kube: Kube, settings: Settings, sidecars: SidecarClient) -> None:
        self._kube, self._settings, self._sidecars = kube, settings, sidecars

    async def observe(self, namespace: str, name: str) -> Observed | None:
        """The state of an artifact and of all that belongs to it; None if it is gone."""
        document = await self._kube.get(KIND, name, namespace)
        if document is None:
            return None
        artifact = artifact_facts(document, self._settings)
        surroundings, nodes, pods, claims, volumes, maps = await asyncio.gather(
            self._kube.get("Namespace", namespace),
            self._nodes(artifact),
            self._pods(artifact),
            self._claims(artifact),
            self._kube.list("PersistentVolume", labels=labels(artifact)),
            self._kube.list("ConfigMap", namespace, labels(artifact)),
        )
        manifest = _stored_manifest(artifact, maps)
        # What only some situations need: a log, the sidecars' answers, and a list of all pods of the namespace.
        running = [pod for pod in pods if pod.role == "fetch" and pod.phase == "Running" and pod.ip]
        removing = artifact.deleting or artifact.spec is None or bool(deselected_nodes(artifact, nodes))
        # After the pods: while no download runs, `current` does not change, so these consumers are all that matter.
        concerned = removing or may_start_download(artifact, nodes, pods, manifest)
        return Observed(
            artifact=artifact,
            nodes=nodes,
            pods=pods,
            claims=claims,
            volumes={item["metadata"]["name"]: facts.volume_facts(item) for item in volumes},
            config_maps=frozenset(item["metadata"]["name"] for item in maps),
            manifest=manifest,
            logged_manifest=await self._logged_manifest(pods) if manifest is None else None,
            progress=await self._sidecars.progress_by_pod(pod for pod in running if not pod.deleting),
            consumers=await self._consumers(artifact) if concerned else {},
            namespace_terminating=facts.is_terminating(surroundings),
        )

    async def _nodes(self, artifact: ArtifactFacts) -> tuple[facts.NodeFacts, ...]:
        """The nodes that match the selector, and those that carry the copy label whatever the selector is now."""
        selectors: list[dict[str, str | None]] = [{names.copy_label(artifact.namespace, artifact.name): None}]
        if artifact.spec:
            selectors.append(dict(artifact.spec.nodes.selector))
        found = await asyncio.gather(*(self._kube.list("Node", labels=selector) for selector in selectors))
        by_name = {node["metadata"]["name"]: facts.node_facts(node) for nodes in found for node in nodes}
        return tuple(by_name[name] for name in sorted(by_name))

    async def _pods(self, artifact: ArtifactFacts) -> tuple[facts.PodFacts, ...]:
        namespaces = sorted({artifact.namespace, self._settings.namespace})
        found = await asyncio.gather(*(self._kube.list("Pod", namespace, labels(artifact)) for namespace in namespaces))
        pods = [pod for group in found for pod in group]
        return tuple(facts.pod_facts(pod, pod["metadata"]["labels"].get(names.LABEL_ROLE, "")) for pod in pods)

    async def _claims(self, artifact: ArtifactFacts) -> dict[str, facts.ClaimFacts]:
        """Our claims, and those with the names that we create or use, whoever owns them."""
        wanted = [names.reader_claim(artifact.name), names.writer_claim(artifact.name)]
        if artifact.spec and isinstance(artifact.spec.storage, ExistingClaim):
            wanted = [artifact.spec.storage.name]
        kind, namespace = "PersistentVolumeClaim", artifact.namespace
        ours = await self._kube.list(kind, namespace, labels(artifact))
        known = {claim["metadata"]["name"] for claim in ours}
        others = await asyncio.gather(*(self._kube.get(kind, name, namespace) for name in wanted if name not in known))
        claims = [*ours, *(claim for claim in others if claim)]
        return {claim["metadata"]["name"]: facts.claim_facts(claim, artifact.uid) for claim in claims}

    async def _logged_manifest(self, pods: Iterable[facts.PodFacts]) -> bytes | None:
        for pod in facts.pods_of(pods, "resolve"):
            if pod.outcome and pod.outcome.ok and not pod.deleting:
                try:
                    return read_manifest(await self._kube.logs(pod.namespace, pod.name, "resolve"))
                except APIError:
                    return None  # its node may not answer now; the resolution step decides how long to wait
        return None

    async def _consumers(self, artifact: ArtifactFacts) -> dict[str, tuple[Consumer, ...]]:
        """The pods that mount the model and have not terminated, by node."""
        consumers: dict[str, list[Consumer]] = {}
        for pod in await self._kube.list("Pod", artifact.namespace):
            if (consumer := consumer_of(artifact, pod)) is not None:
                consumers.setdefault(pod["spec"].get("nodeName", ""), []).append(consumer)
        return {node: tuple(sorted(found, key=lambda one: one.name)) for node, found in consumers.items()}


def consumer_of(artifact: ArtifactFacts, pod: Object) -> Consumer | None:
    """The facts of a core/v1 Pod if it mounts the model of `artifact` and has not terminated, otherwise None.

    A pod that mounts an existing claim without a subPath follows ``current`` whenever it opens a file.
    """
    spec = pod["spec"]
    claims = {
        one["name"]: (one.get("persistentVolumeClaim") or {}).get("claimName") for one in spec.get("volumes") or []
    }
    existing = artifact.spec.storage if artifact.spec else None
    sub_path = isinstance(existing, ExistingClaim)
    wanted = existing.name if isinstance(existing, ExistingClaim) else names.reader_claim(artifact.name)
    if (pod.get("status") or {}).get("phase") in ("Succeeded", "Failed") or wanted not in claims.values():
        return None
    if sub_path:
        containers = [*(spec.get("initContainers") or []), *spec["containers"]]
        mounts = [
            mount for one in containers for mount in one.get("volumeMounts") or [] if claims[mount["name"]] == wanted
        ]
        if not any(_is_inside(mount, artifact.name) for mount in mounts):
            return None
    return facts.consumer_facts(pod, sub_path=sub_path)


def _is_inside(mount: Object, directory: str) -> bool:
    """Whether a core/v1 VolumeMount has a subPath inside `directory`; one with variables may have."""
    return bool(mount.get("subPathExpr")) or mount.get("subPath", "").startswith(f"{directory}/")


def artifact_facts(document: Object, settings: Settings) -> ArtifactFacts:
    """The facts of a ModelArtifact, its spec parsed."""
    meta = document["metadata"]
    body = {
        "apiVersion": API_VERSION,
        "kind": KIND,
        "metadata": {"name": meta["name"], "namespace": meta["namespace"]},
        "spec": document.get("spec"),
    }
    try:
        spec = parse_artifact(body).spec
    except InvalidSpec as error:
        return ArtifactFacts(document, None, error.message)
    return ArtifactFacts(document, spec, input_key=config_maps.input_key(document, settings))


def _stored_manifest(artifact: ArtifactFacts, maps: Iterable[Object]) -> Manifest | None:
    stored = config_maps.manifest_name(artifact)
    for item in maps:
        if item["metadata"]["name"] == stored:
            try:
                return decode(base64.b64decode((item.get("binaryData") or {})[config_maps.MANIFEST_KEY]))
            except (ValueError, KeyError, binascii.Error):
                return None
    return None
