"""Admission that changes the pods of an artifact: a container that never ends, as service meshes add one; a memory
limit that is too small; a deadline. And the eviction of a pod."""

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
#: What admission changes, by artifact.
KILLED, STARVED, HURRIED, DRAINED = "killed", "starved", "hurried", "drained"
INJECTED = ("missing", "wrong", "right", KILLED)
LIMIT, DEADLINE = "18Mi", 8
API = "admissionregistration.k8s.io/v1beta1"


def patches(image: str) -> dict[str, tuple[tuple[str, ...], list[str]]]:
    """The artifacts of each policy, and its JSON patch as expressions of CEL."""
    container = (
        f'Object.spec.containers{{name: "injected", image: "{image}", command: ["sh", "-c", "{ENDLESS}"], '
        "securityContext: Object.spec.containers.securityContext{allowPrivilegeEscalation: false, "
        'capabilities: Object.spec.containers.securityContext.capabilities{drop: ["ALL"]}}}'
    )
    memory = [
        f'JSONPatch{{op: "replace", path: "/spec/containers/0/resources/{kind}/memory", value: "{LIMIT}"}}'
        for kind in ("limits", "requests")
    ]
    return {
        "injected": (INJECTED, [f'JSONPatch{{op: "add", path: "/spec/containers/-", value: {container}}}']),
        "starved": ((STARVED,), memory),
        "hurried": ((HURRIED,), [f'JSONPatch{{op: "add", path: "/spec/activeDeadlineSeconds", value: {DEADLINE}}}']),
    }


def policy(name: str, namespace_: str, artifacts: tuple[str, ...], patch: list[str]) -> list[Object]:
    """A MutatingAdmissionPolicy (KEP-3962) for all pods of some artifacts of a namespace, and its binding."""
    rule = {"apiGroups": [""], "apiVersions": ["v1"], "operations": ["CREATE"], "resources": ["pods"]}
    selected = [{"key": names.LABEL_ARTIFACT, "operator": "In", "values": list(artifacts)}]
    selector = {"matchLabels": {names.LABEL_NAMESPACE: namespace_}, "matchExpressions": selected}
    spec = {
        "matchConstraints": {"resourceRules": [rule], "objectSelector": selector},
        "failurePolicy": "Fail",
        "reinvocationPolicy": "Never",
        "mutations": [{"patchType": "JSONPatch", "jsonPatch": {"expression": f"[{', '.join(patch)}]"}}],
    }
    binding = {"apiVersion": API, "kind": "MutatingAdmissionPolicyBinding", "metadata": {"name": name}}
    return [
        {"apiVersion": API, "kind": "MutatingAdmissionPolicy", "metadata": {"name": name}, "spec": spec},
        binding | {"spec": {"policyName": name}},
    ]


def containers(pods: list[Object]) -> list[set[str]]:
    """The names of the containers of each pod."""
    return [{container["name"] for container in pod["spec"]["containers"]} for pod in pods]


@dataclass(frozen=True)
class Admitted:
    """A namespace with the policies, and an origin with one small file."""

    ns: NamespaceClient
    nginx: Nginx

    def model(self, name: str, path: str = "a.bin", **spec: Any) -> Object:
        """An artifact of one small file for one node."""
        digest = hashlib.sha256(CONTENT).hexdigest()
        files = [{"path": "a.bin", "url": self.nginx.url(path), "sha256": digest, "size": len(CONTENT)}]
        return artifact(name, files, nodes={"selector": {"kubernetes.io/hostname": NODE}}, **spec)


@pytest.fixture(scope="module")
def admitted(installed: Platform, leaf: Leaf, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Admitted]:
    """The policies are in force when a dry run shows what they change."""
    if installed.own is None:
        pytest.skip("needs an API server with MutatingAdmissionPolicy; runs only on a cluster of tests/cluster")
    root = tmp_path_factory.mktemp("admitted")
    (root / "a.bin").write_bytes(CONTENT)
    (root / "b.bin").write_bytes(CONTENT[::-1])
    with namespace(installed) as ns, Nginx(root, leaf=leaf, host=installed.host_address) as nginx:
        found = {f"{name}-{ns.namespace}": chosen for name, chosen in patches(installed.image).items()}
        documents = [document for name, chosen in found.items() for document in policy(name, ns.namespace, *chosen)]
        installed.kubectl("apply", "-f", "-", input="\n---\n".join(json.dumps(document) for document in documents))
        ns.wait("the policies", lambda: all(is_changed(ns, one, installed.image) for one in (KILLED, STARVED, HURRIED)))
        yield Admitted(ns, nginx)
        # The artifacts first: their removal pods get the container too.
        ns.kubectl("delete", "ma", "--all", "--timeout=90s")
        for name in found:
            installed.kubectl("delete", "mutatingadmissionpolicies,mutatingadmissionpolicybindings", name)


def is_changed(ns: NamespaceClient, name: str, image: str) -> bool:
    """Whether admission would change a pod of an artifact."""
    labels = {names.LABEL_NAMESPACE: ns.namespace, names.LABEL_ARTIFACT: name}
    security = {"runAsNonRoot": True, "runAsUser": 65532, "seccompProfile": {"type": "RuntimeDefault"}}
    container = {
        "name": "a",
        "image": image,
        "resources": {"limits": {"memory": "256Mi"}, "requests": {"memory": "96Mi"}},
        "securityContext": {"allowPrivilegeEscalation": False, "capabilities": {"drop": ["ALL"]}},
    }
    spec = {"securityContext": security, "containers": [container]}
    body = {"apiVersion": "v1", "kind": "Pod", "metadata": {"name": "probe", "labels": labels}, "spec": spec}
    shown = json.loads(ns.kubectl("create", "--dry-run=server", "-o", "json", "-f", "-", input=json.dumps(body)))[
        "spec"
    ]
    memory = shown["containers"][0]["resources"]["limits"]["memory"]
    return len(shown["containers"]) == 2 or "activeDeadlineSeconds" in shown or memory == LIMIT


def test_an_error_ends_the_attempt_although_the_injected_container_runs(admitted: Admitted) -> None:
    """istio/istio#11045, kyverno/kyverno#9365."""
    ns = admitted.ns
    ns.apply(admitted.model("missing", "no-such.bin"), admitted.model("wrong", "b.bin"), admitted.model("right"))
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


def test_the_pods_refuse_the_proxies_of_service_meshes(installed: Platform, admitted: Admitted) -> None:
    ns = admitted.ns
    helpers = json.loads(
        installed.kubectl("get", "pods", "-n", SYSTEM, "-l", f"{names.LABEL_NAMESPACE}={ns.namespace}", "-o", "json")
    )["items"]
    found = [*ns.pods("wrong"), *ns.pods("missing", "resolve"), *helpers]
    assert len(found) > 2
    for pod in found:
        assert pod["metadata"]["labels"]["sidecar.istio.io/inject"] == "false"
        assert pod["metadata"]["annotations"]["linkerd.io/inject"] == "disabled"


def test_the_cause_of_a_pods_end_is_named_with_the_remedy_and_the_work_is_tried_again(
    installed: Platform, admitted: Admitted, small: Served
) -> None:
    ns, node = admitted.ns, installed.nodes.node(NODE)
    slow = {"nodes": {"selector": {"kubernetes.io/hostname": NODE}}, "transfer": {"connections": 2}}
    downloads = [artifact(name, small.source, **slow) for name in (KILLED, HURRIED, DRAINED)]
    ns.apply(admitted.model(STARVED), *downloads)

    ns.wait_bytes(KILLED, NODE, 0.01)
    (killed,) = ns.pods(KILLED)
    ids = {one["name"]: one["containerID"] for one in killed["status"]["containerStatuses"]}
    assert node.kill_in_container(ids["fetch"], "agent fetch") >= 1
    ns.wait_bytes(DRAINED, NODE, 0.01)
    (drained,) = (pod["metadata"]["name"] for pod in ns.pods(DRAINED))
    evict(ns, drained)

    died = f"container fetch of pod {killed['metadata']['name']} ended without an outcome, with exit code 137 (SIGKILL)"
    assert_named(ns, KILLED, "PodDied", died)
    assert_named(ns, DRAINED, "Evicted", f"pod {drained} was evicted by a request to the API server")
    assert_named(ns, HURRIED, "DeadlineExceeded", f"its deadline of {DEADLINE} s, which Modelferry does not set")
    for name, attempt in ((KILLED, 2), (HURRIED, 2), (DRAINED, 1)):
        wait_started(ns, name, f"{NODE}: attempt {attempt} started", times=2 if attempt == 1 else 1)
    ns.wait("the limit", lambda: ns.condition(STARVED, "Ready").get("reason") == "OOMKilled")
    message = ns.condition(STARVED, "Ready")["message"]
    assert f"at its memory limit of {LIMIT}: raise agentResources.limits.memory in the chart's values" in message


def evict(ns: NamespaceClient, pod: str) -> None:
    """What kubectl drain does with a pod."""
    meta = {"name": pod, "namespace": ns.namespace}
    body = {"apiVersion": "policy/v1", "kind": "Eviction", "metadata": meta}
    path = f"/api/v1/namespaces/{ns.namespace}/pods/{pod}/eviction"
    ns.kubectl("create", "--raw", path, "-f", "-", input=json.dumps(body))


def assert_named(ns: NamespaceClient, name: str, reason: str, words: str) -> None:
    """An Event of an artifact has `reason`, and `words` in its message."""

    def messages() -> list[str]:
        return [message for found, message in ns.events(name) if found == reason]

    ns.wait(f"the Event {reason} of {name}", lambda: messages() != [], 120)
    assert words in messages()[0]


def wait_started(ns: NamespaceClient, name: str, words: str, times: int) -> None:
    """Waits until Events of an artifact have told a number of times that a download started."""

    def started() -> list[str]:
        return [message for reason, message in ns.events(name) if reason == "Downloading" and words in message]

    ns.wait(f"{name}: {words}", lambda: len(started()) >= times, 120)
