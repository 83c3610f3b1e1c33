"""Builders of facts: an artifact on two nodes, and a small simulated cluster that carries plans out."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

from modelferry.controller import facts
from modelferry.controller.actions import Create, Delete, Finalizer, Label
from modelferry.controller.children import config_maps
from modelferry.controller.facts import NodeFacts, Observed, PodFacts, Taint
from modelferry.controller.plan import plan
from modelferry.controller.settings import Settings
from modelferry.controller.states import Plan
from modelferry.manifest import Digest, FileEntry, Location, Manifest
from modelferry.messages import Outcome
from modelferry.resource import API_VERSION, KIND, names
from modelferry.resource.parse import parse_artifact

SETTINGS = Settings(namespace="modelferry-system", image="modelferry:test")
MANIFEST = Manifest("abc123", (FileEntry("a.bin", 1000, Digest("md5", "0" * 32), (Location("https://h/a.bin"),)),))
NOW = 1_000_000.0


def document(spec: dict[str, Any] | None = None, **metadata: Any) -> dict[str, Any]:
    """A ModelArtifact as the API server shows it, our finalizer on it."""
    files = [{"path": "a.bin", "url": "https://h/a.bin", "md5": "0" * 32}]
    return {
        "apiVersion": API_VERSION,
        "kind": KIND,
        "metadata": {
            "name": "chattts",
            "namespace": "speech",
            "uid": "u-1",
            "generation": 1,
            "resourceVersion": "7",
            "finalizers": [names.FINALIZER],
        }
        | metadata,
        "spec": {"source": {"http": {"files": files}}, "storage": {"nodeLocal": {}}} | (spec or {}),
    }


def node(name: str, labels: dict[str, str] | None = None, *, ready: bool = True, taints: tuple[Taint, ...] = ()) -> Any:
    """A node."""
    return NodeFacts(name, labels or {}, taints, ready)


def observed(body: dict[str, Any] | None = None, **fields: Any) -> Observed:
    """The facts of an artifact; two nodes unless `nodes` says otherwise."""
    body = body or document()
    identity = {"name": body["metadata"]["name"], "namespace": body["metadata"]["namespace"]}
    artifact = parse_artifact({k: v for k, v in body.items() if k != "status"} | {"metadata": identity})
    fields.setdefault("nodes", (node("node-0"), node("node-1")))
    return Observed(body, artifact, "", **fields)


def pod(role: str, on: str = "", **fields: Any) -> PodFacts:
    """One of our pods; finished ones ended at NOW."""
    base: dict[str, Any] = {"name": f"{role}-{on}", "namespace": "speech", "uid": f"{role}-{on}-uid", "key": ""}
    base |= {"attempt": 1, "phase": "Running", "created": NOW}
    return PodFacts(role=role, node=on, **(base | fields))


def done(outcome: Outcome) -> dict[str, Any]:
    """The fields of a pod that ended with `outcome`."""
    return {"phase": "Succeeded" if outcome.ok else "Failed", "outcome": outcome, "finished": NOW}


class World:
    """A cluster that carries plans out at once: what is created is there, pods run until the test ends them."""

    def __init__(self, seen: Observed) -> None:
        self.seen = seen
        self.created: list[dict[str, Any]] = []

    def step(self, now: float = NOW) -> Plan:
        """One plan, carried out."""
        made = plan(self.seen, SETTINGS, now)
        for action in made.actions:
            match action:
                case Create(body):
                    self.created.append(body)
                    self._create(body)
                case Delete(kind, name, _, _, _):
                    self._delete(kind, name)
                case Label(on, key, value):
                    self._label(on, key, value)
                case Finalizer(present):
                    self.seen.document["metadata"]["finalizers"] = [names.FINALIZER] if present else []
        return made

    def settle(self, now: float = NOW, most: int = 30) -> Plan:
        """Plans until nothing is to be done; fails where that does not come."""
        for _ in range(most):
            made = self.step(now)
            if not made.actions:
                return made
        raise AssertionError(f"still busy after {most} plans: {made.actions}")

    def end(self, role: str, on: str, outcome: Outcome | None, at: float = NOW) -> None:
        """The newest pod in `role` on a node ends; with no outcome it died without a word."""
        target = self.seen.pods_of(role, on)[0]
        phase = "Succeeded" if outcome and outcome.ok else "Failed"
        self._change(pods=tuple(replace(p, phase=phase, outcome=outcome, finished=at) if p is target else p
                                for p in self.seen.pods))  # fmt: skip

    def resolved(self, manifest: Manifest = MANIFEST) -> None:
        """The manifest is known."""
        self._change(manifest=manifest, config_maps=self.seen.config_maps | {config_maps.manifest_name(self.seen)})

    def change(self, **fields: Any) -> None:
        """Other facts."""
        self._change(**fields)

    def bodies(self, kind: str, role: str = "") -> list[dict[str, Any]]:
        """What was created of a kind, in order."""
        mine = [body for body in self.created if body["kind"] == kind]
        return [b for b in mine if not role or b["metadata"]["labels"].get(names.LABEL_ROLE) == role]

    def _change(self, **fields: Any) -> None:
        self.seen = replace(self.seen, **fields)

    def _create(self, body: dict[str, Any]) -> None:
        name = body["metadata"]["name"]
        match body["kind"]:
            case "Pod":
                role = body["metadata"]["labels"][names.LABEL_ROLE]
                self._change(pods=(*self.seen.pods, facts.pod_facts(_stamped(body), role)))
            case "ConfigMap":
                self._change(config_maps=self.seen.config_maps | {name})
            case "PersistentVolume":
                self._change(volumes={**self.seen.volumes, name: facts.VolumeFacts(name, "Available", False)})
            case "PersistentVolumeClaim":
                claim = facts.claim_facts(_stamped(body), self.seen.uid)
                self._change(claims={**self.seen.claims, name: replace(claim, phase="Bound")})

    def _delete(self, kind: str, name: str) -> None:
        match kind:
            case "Pod":
                self._change(pods=tuple(pod for pod in self.seen.pods if pod.name != name))
            case "ConfigMap":
                self._change(config_maps=self.seen.config_maps - {name})
            case "PersistentVolume":
                self._change(volumes={k: v for k, v in self.seen.volumes.items() if k != name})
            case "PersistentVolumeClaim":
                self._change(claims={k: v for k, v in self.seen.claims.items() if k != name})

    def _label(self, on: str, key: str, value: str | None) -> None:
        def labelled(n: NodeFacts) -> NodeFacts:
            labels = {k: v for k, v in n.labels.items() if k != key}
            return replace(n, labels=labels if value is None else labels | {key: value})

        self._change(nodes=tuple(labelled(n) if n.name == on else n for n in self.seen.nodes))


def _stamped(body: dict[str, Any]) -> dict[str, Any]:
    stamp = {"uid": f"{body['metadata']['name']}-uid", "creationTimestamp": "2026-01-01T00:00:00Z"}
    return body | {"metadata": body["metadata"] | stamp}
