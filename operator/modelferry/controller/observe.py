"""The cluster as it stands, into `facts`: always by asking the API server, never from an event."""

from __future__ import annotations

import asyncio
import base64
import binascii
from dataclasses import replace

import aiohttp

from modelferry.controller import facts
from modelferry.controller.children import config_maps
from modelferry.controller.facts import Object, Observed
from modelferry.controller.kube import APIError, Kube
from modelferry.controller.placement import chosen, holders
from modelferry.controller.settings import Settings
from modelferry.errors import InvalidSpec
from modelferry.manifest import Manifest, decode
from modelferry.messages import Progress
from modelferry.messages.manifest_log import read_manifest
from modelferry.messages.progress import PORT
from modelferry.resource import API_VERSION, KIND, names
from modelferry.resource.parse import parse_artifact
from modelferry.resource.spec import Artifact, ExistingClaim

#: Sidecars asked at once, and seconds that one may take to answer: a slow node must not hold up the others.
_ASK_AT_ONCE, _ASK_SECONDS = 16, 3.0


class Observer:
    """Asks the API server and the sidecars."""

    def __init__(self, kube: Kube, settings: Settings, session: aiohttp.ClientSession) -> None:
        self._kube, self._settings, self._session = kube, settings, session

    async def look(self, namespace: str, name: str) -> Observed | None:
        """Everything about one artifact; None where it is gone."""
        document = await self._kube.get(KIND, name, namespace)
        if document is None:
            return None
        artifact, fault = _parsed(document)
        seen = Observed(document, artifact, fault)
        labels = dict([names.MANAGED_BY]) | {names.LABEL_ARTIFACT: name, names.LABEL_NAMESPACE: namespace}
        nodes, pods, claims, volumes, maps = await asyncio.gather(
            self._nodes(seen),
            self._pods(namespace, labels),
            self._claims(seen, labels),
            self._kube.list("PersistentVolume", labels=labels),
            self._kube.list("ConfigMap", namespace, labels),
        )
        seen = Observed(
            document=document,
            artifact=artifact,
            fault=fault,
            nodes=nodes,
            pods=pods,
            claims=claims,
            volumes={item["metadata"]["name"]: facts.volume_facts(item) for item in volumes},
            config_maps=frozenset(item["metadata"]["name"] for item in maps),
            manifest=self._manifest(seen, maps),
        )
        return await self._asked(seen)

    async def _asked(self, seen: Observed) -> Observed:
        """Adds what only some situations need: the resolve pod's log, the sidecars' progress, the consumers."""
        printed = await self._printed(seen) if seen.manifest is None else None
        progress = await self._progress(seen)
        consumers = await self._consumers(seen) if _somebody_leaves(seen) else {}
        return replace(seen, printed=printed, progress=progress, consumers=consumers)

    async def _nodes(self, seen: Observed) -> tuple[facts.NodeFacts, ...]:
        """The nodes that the selector matches, and those that hold a copy whatever the selector says now."""
        selectors: list[dict[str, str | None]] = [{names.copy_label(seen.namespace, seen.name): None}]
        if seen.artifact:
            selectors.append(dict(seen.artifact.spec.nodes.selector))
        found = await asyncio.gather(*(self._kube.list("Node", labels=selector) for selector in selectors))
        by_name = {node["metadata"]["name"]: facts.node_facts(node) for nodes in found for node in nodes}
        return tuple(by_name[name] for name in sorted(by_name))

    async def _pods(self, namespace: str, labels: dict[str, str]) -> tuple[facts.PodFacts, ...]:
        locations = {namespace, self._settings.namespace}
        found = await asyncio.gather(
            *(self._kube.list("Pod", location, dict(labels)) for location in sorted(locations))
        )
        pods = [pod for group in found for pod in group]
        return tuple(facts.pod_facts(pod, pod["metadata"]["labels"].get(names.LABEL_ROLE, "")) for pod in pods)

    async def _claims(self, seen: Observed, labels: dict[str, str]) -> dict[str, facts.ClaimFacts]:
        """Our claims, and by name those that we want to make or use, whoever made them."""
        wanted = [names.reader_claim(seen.name), names.writer_claim(seen.name)]
        if seen.artifact and isinstance(seen.artifact.spec.storage, ExistingClaim):
            wanted = [seen.artifact.spec.storage.name]
        ours = await self._kube.list("PersistentVolumeClaim", seen.namespace, dict(labels))
        known = {claim["metadata"]["name"] for claim in ours}
        asked = (self._kube.get("PersistentVolumeClaim", name, seen.namespace) for name in wanted if name not in known)
        others = [claim for claim in await asyncio.gather(*asked) if claim]
        return {claim["metadata"]["name"]: facts.claim_facts(claim, seen.uid) for claim in [*ours, *others]}

    def _manifest(self, seen: Observed, maps: list[Object]) -> Manifest | None:
        wanted = config_maps.manifest_name(seen)
        for item in maps:
            if item["metadata"]["name"] == wanted:
                try:
                    return decode(base64.b64decode((item.get("binaryData") or {})[config_maps.MANIFEST_KEY]))
                except (ValueError, KeyError, binascii.Error):
                    return None
        return None

    async def _printed(self, seen: Observed) -> bytes | None:
        for pod in seen.pods_of("resolve"):
            if pod.outcome and pod.outcome.ok and not pod.deleting:
                try:
                    return read_manifest(await self._kube.logs(pod.namespace, pod.name, "resolve"))
                except APIError:
                    return None
        return None

    async def _progress(self, seen: Observed) -> dict[str, Progress]:
        running = [pod for pod in seen.pods_of("fetch") if pod.phase == "Running" and pod.ip and not pod.deleting]
        gate = asyncio.Semaphore(_ASK_AT_ONCE)

        async def ask(pod: facts.PodFacts) -> tuple[str, Progress | None]:
            async with gate:
                return pod.name, await self.ask(pod)

        answers = await asyncio.gather(*(ask(pod) for pod in running))
        return {name: progress for name, progress in answers if progress}

    async def ask(self, pod: facts.PodFacts) -> Progress | None:
        """How far the download in `pod` is; None where its sidecar does not answer."""
        try:
            if self._settings.through_proxy:
                text = await self._kube.through_proxy(pod.namespace, pod.name, PORT, "v1/progress", _ASK_SECONDS)
                return Progress.decode(text)
            host = f"[{pod.ip}]" if ":" in pod.ip else pod.ip
            timeout = aiohttp.ClientTimeout(total=_ASK_SECONDS)
            async with self._session.get(f"http://{host}:{PORT}/v1/progress", timeout=timeout) as response:
                return Progress.decode(await response.read())
        except (aiohttp.ClientError, APIError, OSError, TimeoutError, ValueError):
            return None  # a sidecar that does not answer is asked again at the next look

    async def _consumers(self, seen: Observed) -> dict[str, tuple[str, ...]]:
        """Pods that mount the reader's claim and have not ended, by node."""
        claim = names.reader_claim(seen.name)
        users: dict[str, list[str]] = {}
        for pod in await self._kube.list("Pod", seen.namespace):
            ended = (pod.get("status") or {}).get("phase") in ("Succeeded", "Failed")
            volumes = pod["spec"].get("volumes") or []
            if not ended and any((v.get("persistentVolumeClaim") or {}).get("claimName") == claim for v in volumes):
                users.setdefault(pod["spec"].get("nodeName", ""), []).append(pod["metadata"]["name"])
        return {node: tuple(sorted(pods)) for node, pods in users.items()}


def _somebody_leaves(seen: Observed) -> bool:
    if seen.deleting or seen.artifact is None:
        return True
    spec = seen.artifact.spec.nodes
    return any(not chosen(node, spec) for node in holders(seen))


def _parsed(document: Object) -> tuple[Artifact | None, str]:
    meta = document["metadata"]
    body = {
        "apiVersion": API_VERSION,
        "kind": KIND,
        "metadata": {"name": meta["name"], "namespace": meta["namespace"]},
        "spec": document.get("spec"),
    }
    try:
        return parse_artifact(body), ""
    except InvalidSpec as error:
        return None, error.message
