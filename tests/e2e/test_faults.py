"""What a user does wrong: each is Stalled, with the object, the cause and the way out, in status and Event."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest

from e2e.conftest import Served, namespace
from e2e.kit import Kit, artifact
from e2e.platform import Platform
from origin.certs import Authority
from origin.nginx import Nginx


def one_file(url: str, **fields: Any) -> list[dict[str, Any]]:
    return [{"path": "a.bin", "url": url, **fields}]


def stalled_and_told(kit: Kit, name: str, reason: str, *words: str) -> None:
    told = kit.wait_stalled(name, reason)
    for word in words:
        assert word in told
    kit.wait("the Event", lambda: (reason, told) in kit.events(name), 10)
    assert kit.condition(name, "Ready")["status"] == "False"
    assert kit.condition(name, "Reconciling") == {}


@pytest.fixture(scope="module", autouse=True)
def nowhere(installed: Platform) -> Iterator[Kit]:
    """An unknown host, from the beginning: a name server that does not answer is borne with for a minute."""
    with namespace(installed) as kit:
        kit.apply(artifact("nowhere", one_file("https://models.invalid/a.bin")))
        yield kit


def test_a_missing_file(kit: Kit, small: Served) -> None:
    url = small.nginx.url("no/such.bin")
    kit.apply(artifact("missing", one_file(f"{url}?token=hush")))
    stalled_and_told(kit, "missing", "NotFound", "a.bin", url, "404")
    assert (
        "hush"
        not in kit.kubectl("get", "ma,events,pods", "-o", "yaml").replace("?token=hush", "", 1).split("status:", 1)[1]
    )


def test_a_certificate_of_an_unknown_authority(installed: Platform, kit: Kit, small: Served, tmp_path: Any) -> None:
    stranger = Authority(tmp_path, "stranger").leaf(installed.host_address)
    with Nginx(tmp_path, leaf=stranger, host=installed.host_address) as nginx:
        kit.apply(artifact("stranger", one_file(nginx.url("a.bin"))))
        stalled_and_told(kit, "stranger", "UnknownAuthority", installed.host_address, "CA bundle")


def test_plain_http_without_leave_and_with_it(installed: Platform, kit: Kit, tmp_path: Any) -> None:
    (tmp_path / "a.bin").write_bytes(b"plain" * 1000)
    with Nginx(tmp_path, host=installed.host_address) as nginx:
        kit.apply(artifact("plain", one_file(nginx.url("a.bin"))))
        stalled_and_told(kit, "plain", "PlainHTTPRefused", "spec.transfer.tls.allowPlainHTTP")
        kit.apply(artifact("plain", one_file(nginx.url("a.bin")), transfer={"tls": {"allowPlainHTTP": True}}))
        kit.wait_ready("plain")
    assert kit.status("plain")["checksum"] == "Unknown"


def test_a_wrong_size(kit: Kit, small: Served) -> None:
    file = small.files[0]
    kit.apply(artifact("sized", one_file(small.nginx.url(file.path), size=file.size + 1)))
    stalled_and_told(kit, "sized", "SizeMismatch", "a.bin", str(file.size), str(file.size + 1))


def test_a_selector_that_matches_no_node(kit: Kit, small: Served) -> None:
    file = small.files[-1]
    kit.apply(artifact("unplaced", one_file(small.nginx.url(file.path)), nodes={"selector": {"gpu": "h100"}}))
    stalled_and_told(kit, "unplaced", "NoMatchingNodes", "gpu=h100")


def test_a_claim_that_somebody_else_made(kit: Kit, small: Served) -> None:
    spec = {"accessModes": ["ReadWriteOnce"], "storageClassName": "", "resources": {"requests": {"storage": "1Mi"}}}
    kit.apply({"apiVersion": "v1", "kind": "PersistentVolumeClaim", "metadata": {"name": "taken"}, "spec": spec})
    kit.apply(artifact("taken", one_file(small.nginx.url(small.files[-1].path))))
    stalled_and_told(kit, "taken", "ClaimNameTaken", "'taken'", "another name")
    assert kit.get("pvc", "taken")["metadata"].get("ownerReferences") is None


def test_a_quota_that_leaves_no_room_is_told_and_healed(kit: Kit, small: Served) -> None:
    kit.kubectl("create", "quota", "none", "--hard=pods=0")
    kit.apply(artifact("squeezed", one_file(small.nginx.url(small.files[-1].path))))
    kit.wait("the reason", lambda: kit.condition("squeezed", "Ready").get("reason") == "Refused", 30)
    assert "exceeded quota: none" in kit.condition("squeezed", "Ready")["message"]
    kit.wait("the Event", lambda: "Refused" in [reason for reason, _ in kit.events("squeezed")], 10)
    kit.kubectl("delete", "quota", "none")
    kit.wait_ready("squeezed")


@pytest.fixture
def models_volume(installed: Platform, kit: Kit) -> Any:
    """A volume on node-0 that a user brought along, for a claim called models."""
    node, path = installed.nodes.node("node-0"), f"/var/lib/modelferry/brought-{kit.namespace}"
    node.exec(["mkdir", "-p", path])
    affinity = [{"key": "kubernetes.io/hostname", "operator": "In", "values": [node.name]}]
    volume = {
        "apiVersion": "v1",
        "kind": "PersistentVolume",
        "metadata": {"name": f"models-{kit.namespace}"},
        "spec": {
            "capacity": {"storage": "1Gi"},
            "accessModes": ["ReadWriteOnce"],
            "storageClassName": "",
            "claimRef": {"namespace": kit.namespace, "name": "models"},
            "local": {"path": path},
            "nodeAffinity": {"required": {"nodeSelectorTerms": [{"matchExpressions": affinity}]}},
        },
    }
    yield volume
    installed.kubectl("delete", "pv", f"models-{kit.namespace}", "--ignore-not-found", "--wait=false")
    node.exec(["rm", "-rf", path])


def test_a_missing_claim_and_the_model_in_it_once_it_is_there(
    installed: Platform, kit: Kit, small: Served, models_volume: dict[str, Any]
) -> None:
    kit.apply(artifact("shared", small.source, storage={"claim": {"name": "models"}}))
    stalled_and_told(kit, "shared", "ClaimMissing", "'models'", "create it")
    spec = {"accessModes": ["ReadWriteOnce"], "storageClassName": "", "resources": {"requests": {"storage": "1Gi"}}}
    claim = {"apiVersion": "v1", "kind": "PersistentVolumeClaim", "metadata": {"name": "models"}, "spec": spec}
    kit.apply(models_volume, claim)
    kit.wait_ready("shared")
    path = f"{models_volume['spec']['local']['path']}/shared/current"
    listing = installed.nodes.node("node-0").exec(["sh", "-c", f"cd {path}/ && sha256sum {small.files[0].path}"])
    assert listing.startswith(small.files[0].sha256)
    kit.delete("shared")
    assert kit.get("pvc", "models")["status"]["phase"] == "Bound", "a user's claim is never deleted"


def test_an_unknown_host(nowhere: Kit) -> None:
    stalled_and_told(nowhere, "nowhere", "UnknownHost", "models.invalid")
