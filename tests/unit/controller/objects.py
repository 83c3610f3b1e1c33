"""Builders of observed state: an artifact on two nodes, and a small simulated cluster that executes plans."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

from modelferry.controller import facts
from modelferry.controller.actions import Create, Delete, EndPod, LabelNode, SetFinalizer
from modelferry.controller.artifact_events import EventRecord, plan_events
from modelferry.controller.children import config_maps
from modelferry.controller.facts import NodeFacts, Observed, PodFacts, Taint
from modelferry.controller.observe import artifact_facts
from modelferry.controller.plan import plan
from modelferry.controller.settings import Settings
from modelferry.controller.step_result import Plan
from modelferry.manifest import Digest, FileEntry, Location, Manifest
from modelferry.messages import Outcome
from modelferry.resource import API_VERSION, KIND, names

SETTINGS = Settings(namespace="modelferry-system", image="modelferry:test")
MANIFEST = Manifest("abc123", (FileEntry("a.bin", 1000, Digest("md5", "0" * 32), (Location("https://h/a.bin"),)),))
NOW = 1_000_000.0


def document(spec: dict[str, Any] | None = None, **metadata: Any) -> dict[str, Any]:
    """A ModelArtifact as the API server returns it, with our finalizer."""
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


def observed(body: dict[str, Any] | None = None, settings: Settings = SETTINGS, **fields: Any) -> Observed:
    """The observed state of an artifact; two nodes unless `nodes` says otherwise."""
    fields.setdefault("nodes", (node("node-0"), node("node-1")))
    artifact = artifact_facts(body or document(), settings)
    assert artifact.spec is not None, artifact.spec_error
    return Observed(artifact, **fields)


def pod(role: str, on: str = "", **fields: Any) -> PodFacts:
    """One of our pods; finished ones ended at NOW."""
    base: dict[str, Any] = {"name": f"{role}-{on}", "namespace": "speech", "uid": f"{role}-{on}-uid", "key": ""}
    base |= {"attempt": 1, "phase": "Running", "created": NOW}
    return PodFacts(role=role, node=on, **(base | fields))


def done(outcome: Outcome) -> dict[str, Any]:
    """The fields of a pod that ended with `outcome`."""
    return {"phase": "Succeeded" if outcome.ok else "Failed", "outcome": outcome, "finished": NOW}


def died(name: str) -> Outcome:
    """The death of a pod that was killed."""
    return Outcome(False, "PodDied", "transient", f"pod {name} ended without an outcome")


class World:
    """A cluster that executes plans immediately: created objects exist, and pods run until the test ends them.

    ``events`` are those of the last plan.
    """

    def __init__(self, observed: Observed) -> None:
        self.observed = observed
        self.events: list[EventRecord] = []
        self.created: list[dict[str, Any]] = []

    def step(self, now: float = NOW) -> Plan:
        """One plan, executed."""
        made = plan(self.observed, SETTINGS, now)
        self.events = plan_events(self.observed, made, now)
        for action in made.actions:
            match action:
                case Create(body):
                    self.created.append(body)
                    self._create(body)
                case Delete(kind, name, _, _, _):
                    self._delete(kind, name)
                case EndPod(name, _):
                    self.finish(name)
                case LabelNode(on, key, value):
                    self._label(on, key, value)
                case SetFinalizer(present):
                    self.observed.artifact.document["metadata"]["finalizers"] = [names.FINALIZER] if present else []
        return made

    def settle(self, now: float = NOW, most: int = 30) -> Plan:
        """Plans until there is nothing left to do."""
        for _ in range(most):
            made = self.step(now)
            if not made.actions:
                return made
        raise AssertionError(f"still busy after {most} plans: {made.actions}")

    def end(self, role: str, on: str, outcome: Outcome | None, at: float = NOW) -> None:
        """The newest pod in `role` on a node ends; without an outcome it was killed."""
        target = self.observed.pods_of(role, on)[0]
        phase = "Succeeded" if outcome and outcome.ok else "Failed"
        death = None if outcome else died(target.name)
        ended = replace(target, phase=phase, outcome=outcome, death=death, finished=at)
        self._change(pods=tuple(ended if pod is target else pod for pod in self.observed.pods))

    def finish(self, name: str) -> None:
        """The kubelet terminates what still runs in a pod."""
        found = self.observed.pods
        self._change(pods=tuple(replace(p, phase="Failed", lingering=False) if p.name == name else p for p in found))

    def resolved(self, manifest: Manifest = MANIFEST) -> None:
        """The manifest is known."""
        self._change(
            manifest=manifest,
            config_maps=self.observed.config_maps | {config_maps.manifest_name(self.observed.artifact)},
        )

    def change(self, **fields: Any) -> None:
        """Change the observed state."""
        self._change(**fields)

    def bodies(self, kind: str, role: str = "") -> list[dict[str, Any]]:
        """What was created of a kind, in order."""
        mine = [body for body in self.created if body["kind"] == kind]
        return [b for b in mine if not role or b["metadata"]["labels"].get(names.LABEL_ROLE) == role]

    def _change(self, **fields: Any) -> None:
        self.observed = replace(self.observed, **fields)

    def _create(self, body: dict[str, Any]) -> None:
        name = body["metadata"]["name"]
        match body["kind"]:
            case "Pod":
                role = body["metadata"]["labels"][names.LABEL_ROLE]
                self._change(pods=(*self.observed.pods, facts.pod_facts(_stamped(body), role)))
            case "ConfigMap":
                self._change(config_maps=self.observed.config_maps | {name})
            case "PersistentVolume":
                self._change(volumes={**self.observed.volumes, name: facts.VolumeFacts(name, "Available", False)})
            case "PersistentVolumeClaim":
                claim = facts.claim_facts(_stamped(body), self.observed.artifact.uid)
                self._change(claims={**self.observed.claims, name: replace(claim, phase="Bound")})

    def _delete(self, kind: str, name: str) -> None:
        match kind:
            case "Pod":
                self._change(pods=tuple(pod for pod in self.observed.pods if pod.name != name))
            case "ConfigMap":
                self._change(config_maps=self.observed.config_maps - {name})
            case "PersistentVolume":
                self._change(volumes={k: v for k, v in self.observed.volumes.items() if k != name})
            case "PersistentVolumeClaim":
                self._change(claims={k: v for k, v in self.observed.claims.items() if k != name})

    def _label(self, on: str, key: str, value: str | None) -> None:
        def labelled(n: NodeFacts) -> NodeFacts:
            labels = {k: v for k, v in n.labels.items() if k != key}
            return replace(n, labels=labels if value is None else labels | {key: value})

        self._change(nodes=tuple(labelled(n) if n.name == on else n for n in self.observed.nodes))


def _stamped(body: dict[str, Any]) -> dict[str, Any]:
    stamp = {"uid": f"{body['metadata']['name']}-uid", "creationTimestamp": "2026-01-01T00:00:00Z"}
    return body | {"metadata": body["metadata"] | stamp}
