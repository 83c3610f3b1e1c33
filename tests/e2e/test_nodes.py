"""Nodes that are added, removed, or too small; and the deletion of an artifact."""

from __future__ import annotations

from collections.abc import Iterator
from hashlib import sha256
from pathlib import Path

import pytest

import kstatus
from cluster import prerequisites
from cluster.node import Node
from e2e.conftest import Served
from e2e.consumers import GATED, example_consumers
from e2e.namespace_client import SYSTEM, NamespaceClient, artifact
from e2e.origins import MIB, files
from e2e.platform import Platform
from modelferry.controller.children.pods import UID
from modelferry.resource import names
from origin.certs import Leaf
from origin.nginx import Nginx


def test_an_added_node_gets_the_model_and_a_deleted_one_leaves_the_status_and_keeps_no_files(
    installed: Platform, ns: NamespaceClient, small: Served
) -> None:
    """rancher/local-path-provisioner#533: a node that is away when its artifact is deleted keeps the directory."""
    cluster = installed.nodes
    ns.apply(artifact("growing", small.source))
    ns.wait_ready("growing")
    assert ns.status("growing")["summary"]["nodes"] == "2/2"
    added = cluster.add_node(disk="2G")
    ns.wait("the third copy", lambda: ns.copy("growing", added.name).get("state") == "Ready", 120)
    assert ns.status("growing")["summary"]["nodes"] == "3/3"
    try:
        foreign = added.exec(["mkdir", "-pv", f"/var/lib/modelferry/{ns.namespace}/other"])
        assert "other" in foreign
        added.stop_kubelet()
        installed.kubectl("delete", "node", added.name)
        ns.wait("the status without it", lambda: ns.status("growing")["summary"]["nodes"] == "2/2", 60)
        assert ns.copy("growing", added.name) == {}
        assert ns.condition("growing", "Ready")["status"] == "True"
        ns.delete("growing")
        directory = f"/var/lib/modelferry/{ns.namespace}"
        assert "growing" in added.exec(["ls", directory])
        added.start_kubelet()
        ns.wait("the directory's removal", lambda: added.exec(["ls", "-A", directory]) == "other\n", 90)
        ns.wait("the check's end", lambda: ns.node_label(added.name, names.CHECKED_LABEL) == "true", 30)
    finally:
        cluster.remove_node(added.name)


def test_a_node_that_lost_its_disk_gets_the_model_again(
    installed: Platform, ns: NamespaceClient, small: Served
) -> None:
    cluster, node = installed.nodes, installed.nodes.nodes[0]
    selector = {"kubernetes.io/hostname": node.name}
    # Few streams, so that the operator, which polls every 2 s, observes the download.
    ns.apply(artifact("lost", small.source, nodes={"selector": selector}, transfer={"connections": 4}))
    ns.wait_ready("lost")
    ready = names.ready_label(ns.namespace, "lost")
    node.lose_disk()
    ns.wait("the label to be removed", lambda: ns.node_label(node.name, ready) is None, 90)
    cluster.wait_ready([node])
    ns.wait_ready("lost")
    assert node.exec(["find", f"/var/lib/modelferry/{ns.namespace}/lost/current/", "-name", "*.yaml"]).count("\n") == 5
    assert ns.node_label(node.name, ready) == ns.status("lost")["revision"]


def test_a_cordoned_node_keeps_an_artifact_from_being_ready_unless_fewer_nodes_are_enough(
    installed: Platform, ns: NamespaceClient, leaf: Leaf, tmp_path: Path
) -> None:
    """helm/helm#10722: a cordoned node kept a release from being ready, whoever used it."""
    content = b"model" * 1000
    (tmp_path / "a.bin").write_bytes(content)
    open_node, cordoned = installed.node_names[:2]
    installed.kubectl("cordon", cordoned)
    try:
        with Nginx(tmp_path, leaf=leaf, host=installed.host_address) as nginx:
            source = [{"path": "a.bin", "url": nginx.url("a.bin"), "sha256": sha256(content).hexdigest()}]
            ns.apply(artifact("guarded", source, nodes={"minReady": "100%"}))
            ns.wait("one copy", lambda: ns.status("guarded").get("nodes", {}).get("ready") == 1)
            remedy = f"run kubectl uncordon {cordoned}, or lower spec.nodes.minReady"
            ns.wait("the reason", lambda: remedy in ns.condition("guarded", "Ready")["message"])
            assert kstatus.compute(ns.get("ma", "guarded")) == "InProgress"
            ns.apply(artifact("guarded", source, nodes={"minReady": 1}))
            ns.wait_ready("guarded", 30)
            assert ns.condition("guarded", "Ready")["message"].startswith(
                f"Ready on 1 of 2 nodes; Waiting on {cordoned}"
            )
            assert kstatus.compute(ns.get("ma", "guarded")) == "Current"
            assert ns.status("guarded")["summary"]["nodes"] == "1/2"
            label = names.ready_label(ns.namespace, "guarded")
            assert [ns.node_label(node, label) is not None for node in (open_node, cordoned)] == [True, False]
            installed.kubectl("uncordon", cordoned)
            ns.wait("the other copy", lambda: ns.condition("guarded", "Ready")["message"] == "Ready on 2 nodes")
    finally:
        installed.kubectl("uncordon", cordoned)


def test_deleting_an_artifact_deletes_its_volumes_files_and_labels(
    installed: Platform, ns: NamespaceClient, small: Served
) -> None:
    nodes = installed.nodes.nodes
    ns.apply(artifact("passing", small.source))
    ns.wait_bytes("passing", nodes[0].name, 0.2)
    ns.delete("passing")
    assert ns.all("pvc") == []
    assert ns.all("pods") == []
    assert names.volume(ns.namespace, "passing", "writer") not in installed.kubectl("get", "pv", "-o", "name")
    for node in nodes:
        assert node.exec(["find", "/var/lib/modelferry", "-path", f"*{ns.namespace}*"]) == ""
        for key in (names.copy_label(ns.namespace, "passing"), names.ready_label(ns.namespace, "passing")):
            assert ns.node_label(node.name, key) is None


def test_a_namespace_is_deleted_during_a_download_without_errors(
    installed: Platform, ns: NamespaceClient, small: Served
) -> None:
    ns.apply(artifact("ending", small.source))
    ns.wait_bytes("ending", installed.node_names[0], 0.1)
    installed.kubectl("delete", "namespace", ns.namespace, "--timeout=90s")
    for node in installed.nodes.nodes:
        assert node.exec(["find", "/var/lib/modelferry", "-path", f"*{ns.namespace}*"]) == ""
    log = installed.kubectl("logs", "-n", SYSTEM, "-l", "app.kubernetes.io/name=modelferry", "--tail=-1")
    assert [line for line in log.splitlines() if ns.namespace in line and "terminat" in line] == []


def test_deletion_waits_for_a_consumer_and_reports_it(installed: Platform, ns: NamespaceClient, small: Served) -> None:
    ns.apply(*example_consumers(installed.image)[:1], artifact("chattts", small.source))
    ns.kubectl("rollout", "status", f"deployment/{GATED}", "--timeout=120s")
    ns.delete("chattts", wait=False)
    ns.wait("the reason", lambda: "uses the model" in ns.condition("chattts", "Ready").get("message", ""), 60)
    assert GATED in ns.condition("chattts", "Ready")["message"]
    user = next(pod for pod in ns.all("pods", f"app={GATED}"))
    listing = installed.nodes.node(user["spec"]["nodeName"]).exec(
        ["find", f"/var/lib/modelferry/{ns.namespace}/chattts/current/", "-name", "*.yaml"]
    )
    assert listing.count("\n") == 5
    ns.kubectl("delete", "deployment", GATED, "--timeout=60s")
    ns.kubectl("wait", "--for=delete", "ma/chattts", "--timeout=60s")


def test_a_revision_stays_while_a_pod_mounts_it_through_a_rollback_and_the_next_revision(
    installed: Platform, ns: NamespaceClient, small: Served
) -> None:
    """kserve/kserve#5030: v2 was removed under its consumer when v3 was published after a rollback to v1."""
    node = installed.nodes.nodes[0]
    nodes = {"selector": {"kubernetes.io/hostname": node.name}}
    texts = [file for file in small.files if file.size < MIB]
    revisions = {f"v{count}": files(small.nginx, texts[:count]) for count in (1, 2, 3, 4)}

    def is_ready(generation: int) -> bool:
        ready = ns.condition("chattts", "Ready")
        return (ready.get("status"), ready.get("observedGeneration")) == ("True", generation)

    def publish(version: str) -> str:
        ns.apply(artifact("chattts", revisions[version], nodes=nodes))
        generation = ns.get("ma", "chattts")["metadata"]["generation"]
        ns.wait(version, lambda: is_ready(generation), 90)
        return str(ns.status("chattts")["revision"])

    found = {version: publish(version) for version in ("v1", "v2")}
    ns.apply(*example_consumers(installed.image)[:1])
    ns.kubectl("rollout", "status", f"deployment/{GATED}", "--timeout=120s")
    found |= {version: publish(version) for version in ("v1", "v3")}
    read = ns.kubectl("exec", f"deployment/{GATED}", "--", "sh", "-c", "cd /models && find . -type f | xargs sha256sum")
    assert all(f"{file.sha256}  ./{file.path}" in read for file in texts[:2]), "the pod's files vanished"
    assert texts[2].path not in read
    retained = {one["revision"]: one for one in ns.copy("chattts", node.name)["retained"]}
    assert set(retained) == {found["v1"], found["v2"]}
    assert retained[found["v2"]]["mounted"]
    ns.kubectl("delete", "deployment", GATED, "--cascade=foreground", "--timeout=60s")  # its pods before it
    found["v4"] = publish("v4")
    kept = node.exec(["ls", f"/var/lib/modelferry/{ns.namespace}/chattts/revisions"]).split()
    assert set(kept) == {found["v3"], found["v4"]}


@pytest.fixture
def exfat(installed: Platform, ns: NamespaceClient) -> Iterator[Node]:
    """A node on which the directory of the namespace is an exFAT file system."""
    prerequisites.ensure(prerequisites.FILE_SYSTEM_PACKAGES)
    node = installed.nodes.nodes[0]
    mount, image = f"/var/lib/modelferry/{ns.namespace}", f"/var/lib/modelferry/{ns.namespace}.exfat"
    node.exec(["mkdir", mount])
    node.exec(["truncate", "-s", "64M", image])
    node.exec(["mkfs.exfat", image])
    device = node.exec(["losetup", "--find", "--show", image]).strip()
    try:
        node.exec(["mount.exfat-fuse", device, mount, "-o", f"allow_other,uid={UID},gid={UID},umask=0002"])
        yield node
    finally:
        node.exec(["umount", "--lazy", mount])
        node.exec(["losetup", "--detach", device])
        node.exec(["rm", image])


def test_a_disk_without_symbolic_links_holds_revisions_and_their_consumers(
    installed: Platform, exfat: Node, ns: NamespaceClient, small: Served
) -> None:
    """huggingface/huggingface_hub#2399."""
    nodes = {"selector": {"kubernetes.io/hostname": exfat.name}}
    texts = [file for file in small.files if file.size < MIB]
    ns.apply(artifact("chattts", files(small.nginx, texts[:1]), nodes=nodes))
    ns.wait_ready("chattts")
    ns.apply(*example_consumers(installed.image)[:1])
    ns.kubectl("rollout", "status", f"deployment/{GATED}", "--timeout=120s")
    ns.apply(artifact("chattts", files(small.nginx, texts[:2]), nodes=nodes))
    current = f"/var/lib/modelferry/{ns.namespace}/chattts/current"
    ns.wait("the second revision", lambda: texts[1].path in exfat.exec(["find", current, "-printf", "%P\n"]).split())
    assert exfat.exec(["stat", "-c", "%F", current]).strip() == "directory"
    read = ns.kubectl("exec", f"deployment/{GATED}", "--", "sh", "-c", "cd /models && find . -type f | xargs sha256sum")
    assert f"{texts[0].sha256}  ./{texts[0].path}" in read, "the pod's files vanished"
    assert texts[1].path not in read
    ns.kubectl("delete", "deployment", GATED, "--timeout=60s")
    ns.delete("chattts")
    assert exfat.exec(["ls", f"/var/lib/modelferry/{ns.namespace}"]) == ""


def test_a_disk_that_is_too_small_is_refused_before_the_first_byte(
    installed: Platform, ns: NamespaceClient, small: Served
) -> None:
    cluster = installed.nodes
    tiny = cluster.add_node(disk="128M")
    try:
        for node in (tiny.name, "node-0"):
            installed.kubectl("label", "node", node, f"test.modelferry.dev/{ns.namespace}=yes")
        selector = {f"test.modelferry.dev/{ns.namespace}": "yes"}
        ns.apply(artifact("large", small.source, nodes={"selector": selector}))
        message = ns.wait_stalled("large", "InsufficientSpace")
        ns.wait("the other copy", lambda: ns.copy("large", "node-0").get("state") == "Ready", 120)
        assert tiny.name in message
        assert "MiB" in message
        assert small.sent() <= small.size + len(small.files), "the small node fetched something"
        assert ns.status("large")["nodes"] == {"total": 2, "ready": 1, "stalled": 1}
        assert ("InsufficientSpace", message) in ns.events("large")
    finally:
        cluster.remove_node(tiny.name)
