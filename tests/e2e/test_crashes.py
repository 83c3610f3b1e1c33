"""Crashes during a download: of the agent, the operator, the kubelet and containerd, and the node."""

from __future__ import annotations

import json
import shlex
import sys

from cluster import Node
from e2e.conftest import Served
from e2e.namespace_client import SYSTEM, NamespaceClient, artifact
from e2e.platform import Platform
from modelferry.manifest import CHUNK_SIZE

STREAMS = 4
NODE = "node-0"


def one_node(served: Served, name: str) -> dict[str, object]:
    """An artifact for one node, so that the origin's log contains one download."""
    selector = {"kubernetes.io/hostname": NODE}
    return artifact(name, served.source, nodes={"selector": selector}, transfer={"connections": STREAMS})


def fetch_container(ns: NamespaceClient, name: str) -> str:
    """The ID of the fetch container."""
    (pod,) = ns.pods(name)
    (container,) = (c for c in pod["status"]["containerStatuses"] if c["name"] == "fetch")
    return str(container["containerID"])


def digests_on(node: Node, ns: NamespaceClient, name: str) -> dict[str, str]:
    """The SHA-256 of each published file on a node's disk, by path."""
    directory = f"/var/lib/modelferry/{ns.namespace}/{name}/current"
    script = f"cd {shlex.quote(directory)} && find . -type f ! -name '.modelferry*' | xargs sha256sum"
    lines = node.exec(["sh", "-c", script]).splitlines()
    return {path.removeprefix("./"): digest for digest, _, path in (line.partition("  ") for line in lines)}


def test_a_killed_download_resumes(installed: Platform, ns: NamespaceClient, small: Served) -> None:
    node = installed.nodes.node(NODE)
    ns.apply(one_node(small, "killed"))
    ns.wait_bytes("killed", NODE, 0.5)
    assert node.kill_in_container(fetch_container(ns, "killed"), "agent fetch") >= 1
    ns.wait_ready("killed")
    assert digests_on(node, ns, "killed") == {file.path: file.sha256 for file in small.files}
    twice = small.sent() - small.size
    assert 0 < twice <= STREAMS * CHUNK_SIZE + len(small.files)
    assert any(
        "attempt 2 started; the previous attempt failed: PodDied" in message for _, message in ns.events("killed")
    )


def test_a_killed_operator_interrupts_no_download_and_updates_the_status_afterwards(
    installed: Platform, ns: NamespaceClient, small: Served
) -> None:
    node = installed.nodes.node(NODE)
    ns.apply(one_node(small, "orphan"))
    ns.wait_bytes("orphan", NODE, 0.2)
    installed.kubectl(
        "delete", "pods", "-n", SYSTEM, "-l", "app.kubernetes.io/name=modelferry", "--force", "--grace-period=0"
    )
    ns.wait_ready("orphan")
    assert digests_on(node, ns, "orphan") == {file.path: file.sha256 for file in small.files}
    assert small.sent() <= small.size + len(small.files), "something was fetched twice"
    started = [message for reason, message in ns.events("orphan") if reason == "Downloading"]
    assert len(started) == 1, "the download was started again"
    assert ns.status("orphan")["checksum"] == "Verified"


def test_a_restart_of_the_kubelet_and_containerd_interrupts_no_download(
    installed: Platform, ns: NamespaceClient, small: Served
) -> None:
    node = installed.nodes.node(NODE)
    ns.apply(one_node(small, "restarted"))
    ns.wait_bytes("restarted", NODE, 0.2)
    node.stop_kubelet()
    node.stop_containerd()
    node.start_containerd()
    node.start_kubelet()
    ns.wait_ready("restarted")
    assert digests_on(node, ns, "restarted") == {file.path: file.sha256 for file in small.files}
    assert small.sent() <= small.size + len(small.files), "something was fetched twice"


def test_after_a_reboot_every_committed_chunk_is_hashed_again(
    installed: Platform, ns: NamespaceClient, small: Served
) -> None:
    cluster, node = installed.nodes, installed.nodes.node(NODE)
    ns.apply(one_node(small, "rebooted"))
    ns.wait_bytes("rebooted", NODE, 0.6)
    node.stop()
    node.boot()
    corrupt = simulate_power_failure(installed, ns, "rebooted")
    node.start_kubernetes()
    cluster.wait_ready([node])
    ns.wait_ready("rebooted")
    assert digests_on(node, ns, "rebooted") == {file.path: file.sha256 for file in small.files}
    (event,) = (message for reason, message in ns.events("rebooted") if reason == "NodeReady")
    assert "hashed again after an unclean boot" in event
    path, index = corrupt
    size = min(CHUNK_SIZE, next(file.size for file in small.files if file.path == path) - index * CHUNK_SIZE)
    assert sent_of(small, path, index) >= 2 * size, "the corrupt chunk was not fetched again"


def sent_of(served: Served, path: str, index: int) -> int:
    """The bytes of one chunk that nginx has sent."""
    found = [request for request in served.nginx.requests() if request.path == f"/{path}"]
    starts = [(int(r.range.removeprefix("bytes=").partition("-")[0]), r.sent) for r in found if r.range and r.sent > 1]
    return sum(sent for start, sent in starts if start // CHUNK_SIZE == index)


def simulate_power_failure(platform: Platform, ns: NamespaceClient, name: str) -> tuple[str, int]:
    """Change the boot ID in chunks.db, since the machine itself did not reboot, and corrupt a committed chunk."""
    script = """
import json, pathlib, sqlite3, sys
top = pathlib.Path(sys.argv[1])
db = sqlite3.connect(top / ".modelferry/chunks.db")
db.execute("UPDATE meta SET value = 'another boot' WHERE key = 'boot_id'")
assert db.execute("SELECT changes()").fetchone() == (1,)
path, index, start = db.execute(
    "SELECT path, \\"index\\", start FROM chunks JOIN files ON files.id = chunks.file WHERE status = 'done' LIMIT 1"
).fetchone()
db.commit()
(incoming,) = (top / ".modelferry/incoming").iterdir()
with (incoming / path).open("r+b") as file:
    file.seek(start + 5)
    byte = file.read(1)
    file.seek(start + 5)
    file.write(bytes([byte[0] ^ 1]))
print(json.dumps([path, index]))
"""
    directory = f"/var/lib/modelferry/{ns.namespace}/{name}"
    path, index = json.loads(platform.nodes.node(NODE).exec([sys.executable, "-c", script, directory]))
    return str(path), int(index)
