"""Admission that adds a container which never ends to every pod of an artifact, as service meshes do."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import pytest

from e2e.conftest import Served, namespace
from e2e.namespace_client import SYSTEM, NamespaceClient, Object, artifact
from e2e.platform import Platform
from modelferry.resource import names
from origin.certs import Leaf
from origin.nginx import Nginx

CONTENT = b"model" * 1000
NODE = "node-0"
ENDLESS = "trap 'exit 0' TERM; sleep infinity & wait"


def policy(name: str, namespace_: str, image: str) -> list[Object]:
    """A MutatingAdmissionPolicy (KEP-3962) for all pods of the artifacts of a namespace, and its binding."""
    container = (
        f'Object.spec.containers{{name: "injected", image: "{image}", command: ["sh", "-c", "{ENDLESS}"], '
        "securityContext: Object.spec.containers.securityContext{allowPrivilegeEscalation: false, "
        'capabilities: Object.spec.containers.securityContext.capabilities{drop: ["ALL"]}}}'
    )
    rule = {"apiGroups": [""], "apiVersions": ["v1"], "operations": ["CREATE"], "resources": ["pods"]}
    api = "admissionregistration.k8s.io/v1beta1"
    mutation = {
        "patchType": "JSONPatch",
        "jsonPatch": {"expression": f'[JSONPatch{{op: "add", path: "/spec/containers/-", value: {container}}}]'},
    }
    spec = {
        "matchConstraints": {
            "resourceRules": [rule],
            "objectSelector": {"matchLabels": {names.LABEL_NAMESPACE: namespace_}},
        },
        "failurePolicy": "Fail",
        "reinvocationPolicy": "Never",
        "mutations": [mutation],
    }
    binding = {"apiVersion": api, "kind": "MutatingAdmissionPolicyBinding", "metadata": {"name": name}}
    return [
        {"apiVersion": api, "kind": "MutatingAdmissionPolicy", "metadata": {"name": name}, "spec": spec},
        binding | {"spec": {"policyName": name}},
    ]


def containers(pods: list[Object]) -> list[set[str]]:
    """The names of the containers of each pod."""
    return [{container["name"] for container in pod["spec"]["containers"]} for pod in pods]


@dataclass(frozen=True)
class Injected:
    """A namespace whose artifacts' pods get the container, and an origin with one small file."""

    ns: NamespaceClient
    nginx: Nginx

    def model(self, name: str, path: str = "a.bin", **spec: Any) -> Object:
        """An artifact of one small file for one node."""
        digest = hashlib.sha256(CONTENT).hexdigest()
        files = [{"path": "a.bin", "url": self.nginx.url(path), "sha256": digest, "size": len(CONTENT)}]
        return artifact(name, files, nodes={"selector": {"kubernetes.io/hostname": NODE}}, **spec)


@pytest.fixture(scope="module")
def injected(installed: Platform, leaf: Leaf, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Injected]:
    """The policy is in force when a dry run shows its container."""
    if installed.own is None:
        pytest.skip("needs an API server with MutatingAdmissionPolicy; runs only on a cluster of tests/cluster")
    root = tmp_path_factory.mktemp("injected")
    (root / "a.bin").write_bytes(CONTENT)
    (root / "b.bin").write_bytes(CONTENT[::-1])
    with namespace(installed) as ns, Nginx(root, leaf=leaf, host=installed.host_address) as nginx:
        installed.kubectl(
            "apply",
            "-f",
            "-",
            input="\n---\n".join(map(json.dumps, policy(ns.namespace, ns.namespace, installed.image))),
        )
        ns.wait("the policy to be in force", lambda: probe(ns, installed.image), 60)
        yield Injected(ns, nginx)
        # The artifacts first: their removal pods get the container too.
        ns.kubectl("delete", "ma", "--all", "--timeout=90s")
        installed.kubectl("delete", "mutatingadmissionpolicies,mutatingadmissionpolicybindings", ns.namespace)


def probe(ns: NamespaceClient, image: str) -> bool:
    """Whether a pod of an artifact would get the container."""
    labels = {names.LABEL_NAMESPACE: ns.namespace}
    security = {"runAsNonRoot": True, "runAsUser": 65532, "seccompProfile": {"type": "RuntimeDefault"}}
    restricted = {"allowPrivilegeEscalation": False, "capabilities": {"drop": ["ALL"]}}
    spec = {"securityContext": security, "containers": [{"name": "a", "image": image, "securityContext": restricted}]}
    body = {"apiVersion": "v1", "kind": "Pod", "metadata": {"name": "probe", "labels": labels}, "spec": spec}
    shown = ns.kubectl("create", "--dry-run=server", "-o", "json", "-f", "-", input=json.dumps(body))
    return "injected" in containers([json.loads(shown)])[0]


def test_an_error_ends_the_attempt_although_the_injected_container_runs(injected: Injected) -> None:
    """istio/istio#11045, kyverno/kyverno#9365."""
    ns = injected.ns
    ns.apply(injected.model("missing", "no-such.bin"), injected.model("wrong", "b.bin"), injected.model("right"))
    assert "404" in ns.wait_stalled("missing", "NotFound")
    ns.wait_stalled("wrong", "DigestMismatch")
    ns.wait_ready("right")
    for name, role in (("missing", "resolve"), ("wrong", "fetch")):
        assert containers(ns.pods(name, role)) == [{role, "injected"}]
        wait_ended(ns, name, role)
    assert ns.condition("missing", "Stalled")["reason"] == "NotFound", (
        "the ended pod is still the record of the attempt"
    )
    assert ns.condition("wrong", "Stalled")["reason"] == "DigestMismatch"


def wait_ended(ns: NamespaceClient, name: str, role: str) -> None:
    """Waits until nothing runs in the pod of an artifact with a role."""
    ns.wait(f"the pod of {name} to end", lambda: [p["status"]["phase"] for p in ns.pods(name, role)] == ["Failed"])


def test_a_killed_download_is_tried_again_although_the_injected_container_runs(
    installed: Platform, injected: Injected, small: Served
) -> None:
    ns, node = injected.ns, installed.nodes.node(NODE)
    selector = {"kubernetes.io/hostname": NODE}
    ns.apply(artifact("killed", small.source, nodes={"selector": selector}, transfer={"connections": 4}))
    ns.wait_bytes("killed", NODE, 0.3)
    (pod,) = ns.pods("killed")
    ids = {one["name"]: one["containerID"] for one in pod["status"]["containerStatuses"]}
    assert node.kill_in_container(ids["fetch"], "agent fetch") >= 1
    ns.wait_ready("killed")
    (event,) = (m for _, m in ns.events("killed") if "attempt 2 started; the previous attempt failed: PodDied" in m)
    assert f"container fetch of pod {pod['metadata']['name']} ended without an outcome, with exit code 137" in event


def test_the_pods_refuse_the_proxies_of_service_meshes(installed: Platform, injected: Injected) -> None:
    ns = injected.ns
    helpers = json.loads(
        installed.kubectl("get", "pods", "-n", SYSTEM, "-l", f"{names.LABEL_NAMESPACE}={ns.namespace}", "-o", "json")
    )["items"]
    found = [*ns.pods("wrong"), *ns.pods("missing", "resolve"), *helpers]
    assert len(found) > 2
    for pod in found:
        assert pod["metadata"]["labels"]["sidecar.istio.io/inject"] == "false"
        assert pod["metadata"]["annotations"]["linkerd.io/inject"] == "disabled"
