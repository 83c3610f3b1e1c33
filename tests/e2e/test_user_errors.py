"""User errors: each is reported with the object, the cause and the remedy, in the status and an Event."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest

from e2e.conftest import Served, namespace
from e2e.namespace_client import NamespaceClient, artifact
from e2e.platform import Platform
from origin.certs import Authority
from origin.nginx import Nginx


def one_file(url: str, **fields: Any) -> list[dict[str, Any]]:
    return [{"path": "a.bin", "url": url, **fields}]


def assert_stalled(ns: NamespaceClient, name: str, reason: str, *words: str) -> None:
    message = ns.wait_stalled(name, reason)
    for word in words:
        assert word in message
    ns.wait("the Event", lambda: (reason, message) in ns.events(name), 10)
    assert ns.condition(name, "Ready")["status"] == "False"
    assert ns.condition(name, "Reconciling") == {}


@pytest.fixture(scope="module", autouse=True)
def nowhere(installed: Platform) -> Iterator[NamespaceClient]:
    """An artifact with an unknown host, created first: an unanswered DNS query is retried for a minute."""
    with namespace(installed) as ns:
        ns.apply(artifact("nowhere", one_file("https://models.invalid/a.bin")))
        yield ns


def test_a_missing_file_is_reported(ns: NamespaceClient, small: Served) -> None:
    url = small.nginx.url("no/such.bin")
    ns.apply(artifact("missing", one_file(f"{url}?token=hush")))
    assert_stalled(ns, "missing", "NotFound", "a.bin", url, "404")
    assert (
        "hush"
        not in ns.kubectl("get", "ma,events,pods", "-o", "yaml").replace("?token=hush", "", 1).split("status:", 1)[1]
    )


def test_a_certificate_of_an_unknown_ca_is_reported(
    installed: Platform, ns: NamespaceClient, small: Served, tmp_path: Any
) -> None:
    stranger = Authority(tmp_path, "stranger").leaf(installed.host_address)
    with Nginx(tmp_path, leaf=stranger, host=installed.host_address) as nginx:
        ns.apply(artifact("stranger", one_file(nginx.url("a.bin"))))
        assert_stalled(ns, "stranger", "UnknownAuthority", installed.host_address, "CA bundle")


def test_plain_http_is_refused_unless_allowed(installed: Platform, ns: NamespaceClient, tmp_path: Any) -> None:
    """What is served is also what has no digest (onnx/models#317), and a page that asks to sign in (aria2#1828)."""
    (tmp_path / "a.bin").write_bytes(b"plain" * 1000)
    (tmp_path / "page.bin").write_bytes(b"<!doctype html><title>Sign in</title>")
    allowed = {"tls": {"allowPlainHTTP": True}}
    with Nginx(tmp_path, host=installed.host_address) as nginx:
        ns.apply(artifact("plain", one_file(nginx.url("a.bin"))))
        assert_stalled(ns, "plain", "PlainHTTPRefused", "spec.transfer.tls.allowPlainHTTP")
        ns.apply(artifact("plain", one_file(nginx.url("a.bin")), transfer=allowed))
        ns.apply(artifact("page", one_file(nginx.url("page.bin")), transfer=allowed))
        assert_stalled(ns, "page", "UnexpectedContent", "is a web page, and not the file")
        ns.wait_ready("plain")
    assert ns.status("plain")["checksum"] == "Unknown"
    ready = ns.condition("plain", "Ready")
    assert ready["reason"] == "NotVerified"
    assert ": complete, not verified: no digest declared for a.bin; add `sha256: <" in ready["message"]
    said = [message for reason, message in ns.events("plain") if reason in ("NodeReady", "Ready")]
    assert said
    assert all("complete, not verified" in message for message in said)


def test_a_wrong_size_is_reported(ns: NamespaceClient, small: Served) -> None:
    file = small.files[0]
    ns.apply(artifact("sized", one_file(small.nginx.url(file.path), size=file.size + 1)))
    assert_stalled(ns, "sized", "SizeMismatch", "a.bin", str(file.size), str(file.size + 1))


def test_a_selector_that_matches_no_node_waits_for_one_and_is_reported(
    installed: Platform, ns: NamespaceClient, small: Served
) -> None:
    """kubernetes/autoscaler#3845: a pool is empty until a consumer makes it grow."""
    file, label = small.files[-1], f"test.modelferry.dev/{ns.namespace}"
    ns.apply(artifact("unplaced", one_file(small.nginx.url(file.path)), nodes={"selector": {label: "h100"}}))
    ns.wait("the reason", lambda: ns.condition("unplaced", "Ready").get("reason") == "NoMatchingNodes")
    message = ns.condition("unplaced", "Ready")["message"]
    assert f"{label}=h100" in message
    assert ns.condition("unplaced", "Reconciling")["status"] == "True"
    assert ns.condition("unplaced", "Stalled") == {}
    ns.wait("the Event", lambda: ("NoMatchingNodes", message) in ns.events("unplaced"), 10)
    installed.kubectl("label", "node", installed.node_names[0], f"{label}=h100")
    ns.wait_ready("unplaced")
    assert ns.status("unplaced")["summary"]["nodes"] == "1/1"


@pytest.fixture
def tainted(installed: Platform, ns: NamespaceClient) -> Iterator[str]:
    """The key of a taint that every node has."""
    key = f"test.modelferry.dev/{ns.namespace}"
    installed.kubectl("taint", "nodes", "--all", f"{key}=present:NoSchedule")
    yield key
    installed.kubectl("taint", "nodes", "--all", f"{key}-")


def test_with_every_node_tainted_the_pod_and_the_field_are_named_and_a_toleration_is_enough(
    ns: NamespaceClient, small: Served, tainted: str
) -> None:
    """kserve/kserve#5348, LLMKube#1621: every node is tainted, and the resolve pod has no toleration."""
    source = one_file(small.nginx.url(small.files[-1].path))
    ns.apply(artifact("tainted", source))
    ns.wait("the cause", lambda: "Unschedulable" in ns.condition("tainted", "Ready").get("message", ""))
    message = ns.condition("tainted", "Ready")["message"]
    assert f"pod {ns.pods('tainted', 'resolve')[0]['metadata']['name']}: " in message
    assert "untolerated taint" in message
    assert f"add tolerations for the taints to spec.nodes.tolerations (the nodes have {tainted}:NoSchedule)" in message
    ns.apply(artifact("tainted", source, nodes={"tolerations": [{"key": tainted, "operator": "Exists"}]}))
    ns.wait_ready("tainted")


def test_an_existing_claim_of_the_same_name_is_reported_and_not_changed(ns: NamespaceClient, small: Served) -> None:
    spec = {"accessModes": ["ReadWriteOnce"], "storageClassName": "", "resources": {"requests": {"storage": "1Mi"}}}
    ns.apply({"apiVersion": "v1", "kind": "PersistentVolumeClaim", "metadata": {"name": "taken"}, "spec": spec})
    ns.apply(artifact("taken", one_file(small.nginx.url(small.files[-1].path))))
    assert_stalled(ns, "taken", "ClaimNameTaken", "'taken'", "another name")
    assert ns.get("pvc", "taken")["metadata"].get("ownerReferences") is None


QUOTA = {"kind": "ResourceQuota", "spec": {"hard": {"pods": "0"}}}
LIMITS = {"kind": "LimitRange", "spec": {"limits": [{"type": "Container", "max": {"memory": "16Mi"}}]}}


@pytest.mark.parametrize(("refusal", "words"), [(QUOTA, "exceeded quota: none"), (LIMITS, "maximum memory usage")])
def test_what_the_api_server_refuses_is_reported_until_it_is_lifted(
    ns: NamespaceClient, small: Served, refusal: dict[str, Any], words: str
) -> None:
    ns.apply({"apiVersion": "v1", "metadata": {"name": "none"}} | refusal)
    ns.apply(artifact("squeezed", one_file(small.nginx.url(small.files[-1].path))))
    ns.wait("the reason", lambda: ns.condition("squeezed", "Ready").get("reason") == "Refused", 30)
    assert words in ns.condition("squeezed", "Ready")["message"]
    ns.wait("the Event", lambda: "Refused" in [reason for reason, _ in ns.events("squeezed")], 10)
    ns.kubectl("delete", refusal["kind"], "none")
    ns.wait_ready("squeezed")


@pytest.fixture
def models_volumes(installed: Platform, ns: NamespaceClient) -> Iterator[list[dict[str, Any]]]:
    """A storage class that binds a claim when its first pod is scheduled, and a volume of it on each node."""
    made = f"models-{ns.namespace}"
    storage_class = {
        "apiVersion": "storage.k8s.io/v1",
        "kind": "StorageClass",
        "metadata": {"name": made},
        "provisioner": "kubernetes.io/no-provisioner",
        "volumeBindingMode": "WaitForFirstConsumer",
    }
    path = f"/var/lib/modelferry/{made}"
    volumes: list[dict[str, Any]] = []
    for node in installed.nodes.nodes:
        node.exec(["mkdir", "-p", path])
        affinity = [{"key": "kubernetes.io/hostname", "operator": "In", "values": [node.name]}]
        spec = {
            "capacity": {"storage": "1Gi"},
            "accessModes": ["ReadWriteOnce"],
            "storageClassName": made,
            "local": {"path": path},
            "nodeAffinity": {"required": {"nodeSelectorTerms": [{"matchExpressions": affinity}]}},
        }
        name = {"name": f"{made}-{node.name}"}
        volumes.append({"apiVersion": "v1", "kind": "PersistentVolume", "metadata": name, "spec": spec})
    yield [storage_class, *volumes]
    names = [volume["metadata"]["name"] for volume in volumes]
    installed.kubectl("delete", "pv", *names, "--ignore-not-found", "--wait=false")
    installed.kubectl("delete", "storageclass", made, "--ignore-not-found")
    for node in installed.nodes.nodes:
        node.exec(["rm", "-rf", path])


def test_a_missing_claim_is_reported_until_it_is_created_and_stays_ready_without_a_pod(
    installed: Platform, ns: NamespaceClient, small: Served, models_volumes: list[dict[str, Any]]
) -> None:
    """pravega/zookeeper-operator#311: the volume is bound where the artifact's nodes are. fluid-cloudnative/fluid#2389:
    the claim is Ready without a finished pod, which may be deleted at any time."""
    node = installed.nodes.node("node-1")
    nodes = {"selector": {"kubernetes.io/hostname": node.name}}
    ns.apply(artifact("shared", small.source, storage={"claim": {"name": "models"}}, nodes=nodes))
    assert_stalled(ns, "shared", "ClaimMissing", "'models'", "create it")
    made = models_volumes[0]["metadata"]["name"]
    spec = {"accessModes": ["ReadWriteOnce"], "storageClassName": made, "resources": {"requests": {"storage": "1Gi"}}}
    claim = {"apiVersion": "v1", "kind": "PersistentVolumeClaim", "metadata": {"name": "models"}, "spec": spec}
    ns.apply(*models_volumes, claim)
    ns.wait_ready("shared")
    assert ns.get("pvc", "models")["spec"]["volumeName"] == f"{made}-{node.name}"
    path = f"{models_volumes[1]['spec']['local']['path']}/shared/current"
    listing = node.exec(["sh", "-c", f"cd {path}/ && sha256sum {small.files[0].path}"])
    assert listing.startswith(small.files[0].sha256)
    ns.wait("the pod to be deleted", lambda: ns.pods("shared") == [])
    ns.kubectl("patch", "ma", "shared", "--type=merge", "--patch", '{"spec": {"transfer": {"connections": 4}}}')
    generation = ns.get("ma", "shared")["metadata"]["generation"]
    ns.wait("the next status", lambda: ns.status("shared")["observedGeneration"] == generation)
    assert ns.condition("shared", "Ready")["status"] == "True"
    assert ns.pods("shared") == []
    ns.delete("shared")
    assert ns.get("pvc", "models")["status"]["phase"] == "Bound", "a user's claim is never deleted"


def test_an_unknown_host_is_reported(nowhere: NamespaceClient) -> None:
    assert_stalled(nowhere, "nowhere", "UnknownHost", "models.invalid")
