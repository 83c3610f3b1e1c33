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
    (tmp_path / "a.bin").write_bytes(b"plain" * 1000)
    with Nginx(tmp_path, host=installed.host_address) as nginx:
        ns.apply(artifact("plain", one_file(nginx.url("a.bin"))))
        assert_stalled(ns, "plain", "PlainHTTPRefused", "spec.transfer.tls.allowPlainHTTP")
        ns.apply(artifact("plain", one_file(nginx.url("a.bin")), transfer={"tls": {"allowPlainHTTP": True}}))
        ns.wait_ready("plain")
    assert ns.status("plain")["checksum"] == "Unknown"


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
def models_volume(installed: Platform, ns: NamespaceClient) -> Any:
    """A user's volume on node-0, for a claim called models."""
    node, path = installed.nodes.node("node-0"), f"/var/lib/modelferry/user-{ns.namespace}"
    node.exec(["mkdir", "-p", path])
    affinity = [{"key": "kubernetes.io/hostname", "operator": "In", "values": [node.name]}]
    volume = {
        "apiVersion": "v1",
        "kind": "PersistentVolume",
        "metadata": {"name": f"models-{ns.namespace}"},
        "spec": {
            "capacity": {"storage": "1Gi"},
            "accessModes": ["ReadWriteOnce"],
            "storageClassName": "",
            "claimRef": {"namespace": ns.namespace, "name": "models"},
            "local": {"path": path},
            "nodeAffinity": {"required": {"nodeSelectorTerms": [{"matchExpressions": affinity}]}},
        },
    }
    yield volume
    installed.kubectl("delete", "pv", f"models-{ns.namespace}", "--ignore-not-found", "--wait=false")
    node.exec(["rm", "-rf", path])


def test_a_missing_claim_is_reported_until_it_is_created(
    installed: Platform, ns: NamespaceClient, small: Served, models_volume: dict[str, Any]
) -> None:
    ns.apply(artifact("shared", small.source, storage={"claim": {"name": "models"}}))
    assert_stalled(ns, "shared", "ClaimMissing", "'models'", "create it")
    spec = {"accessModes": ["ReadWriteOnce"], "storageClassName": "", "resources": {"requests": {"storage": "1Gi"}}}
    claim = {"apiVersion": "v1", "kind": "PersistentVolumeClaim", "metadata": {"name": "models"}, "spec": spec}
    ns.apply(models_volume, claim)
    ns.wait_ready("shared")
    path = f"{models_volume['spec']['local']['path']}/shared/current"
    listing = installed.nodes.node("node-0").exec(["sh", "-c", f"cd {path}/ && sha256sum {small.files[0].path}"])
    assert listing.startswith(small.files[0].sha256)
    ns.delete("shared")
    assert ns.get("pvc", "models")["status"]["phase"] == "Bound", "a user's claim is never deleted"


def test_an_unknown_host_is_reported(nowhere: NamespaceClient) -> None:
    assert_stalled(nowhere, "nowhere", "UnknownHost", "models.invalid")
