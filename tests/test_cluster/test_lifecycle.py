"""Clusters on this machine: two at once, killed runs, and nodes that are stopped, started, added and removed."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from threading import Thread

import pytest

from cluster import Cluster, Node, cleanup
from cluster.cgroups import TOP, Group
from cluster.network import SERVICES
from cluster.node_files import DISK_MOUNT, PAUSE_IMAGE
from cluster.shell import wait_until
from test_cluster.traces import traces

pytestmark = [pytest.mark.e2e, pytest.mark.usefixtures("able")]

TESTS = Path(__file__).parent.parent
KILL_AT = [
    "control-plane/etcd",
    "node-0/containerd",
    "node-0/kubelet",
]  # the group whose first process has just started


@pytest.fixture(scope="module")
def cluster(able: None) -> Iterator[Cluster]:
    with Cluster.up(nodes=2, disk="200M") as created:
        yield created
    assert traces(created.name) == []


def _run_pod(cluster: Cluster, node: Node) -> str:
    """Runs a pause pod on a node, and returns its name when it is ready."""
    name = f"on-{node.name}"
    container = {"name": "pause", "image": PAUSE_IMAGE, "imagePullPolicy": "Never"}
    spec = {"nodeName": node.name, "tolerations": [{"operator": "Exists"}], "containers": [container]}
    pod = {"apiVersion": "v1", "kind": "Pod", "metadata": {"name": name}, "spec": spec}
    cluster.kubectl("apply", "--filename=-", input=json.dumps(pod))
    cluster.kubectl("wait", "--for=condition=Ready", f"pod/{name}", "--timeout=60s")
    return name


def _container(cluster: Cluster, pod: str) -> dict[str, object]:
    """The status of a pod's only container."""
    listed = cluster.kubectl("get", "pod", pod, "--output=jsonpath={.status.containerStatuses[0]}")
    status: dict[str, object] = json.loads(listed)
    return status


def _wait_restarted(cluster: Cluster, pod: str) -> None:
    def restarted() -> bool:
        status = _container(cluster, pod)
        return bool(status["ready"]) and status["restartCount"] != 0

    wait_until(f"the restart of {pod}", restarted)


def test_two_clusters_run_at_once(cluster: Cluster) -> None:
    with Cluster.up(nodes=1, disk="50M") as other:
        assert other.name != cluster.name
        assert other.host_address != cluster.host_address
        _run_pod(other, other.nodes[0])
        _run_pod(cluster, cluster.nodes[0])
        assert cleanup.remove_abandoned() == []  # both owners are alive
    assert traces(other.name) == []
    cluster.wait_ready(cluster.nodes)


@pytest.mark.parametrize("group", KILL_AT)
def test_the_cluster_of_a_killed_run_is_deleted(group: str) -> None:
    name = f"killed{KILL_AT.index(group)}"
    argv = [sys.executable, "-m", "cluster", "up", "--name", name, "--nodes", "1", "--disk", "50M"]
    with subprocess.Popen(argv, cwd=TESTS, stdout=subprocess.DEVNULL) as runner:
        wait_until(group, lambda: bool((Group(f"{TOP}/{name}") / group).pids()))
        runner.kill()
    assert traces(name)
    assert cleanup.remove_abandoned() == [name]
    assert traces(name) == []


def test_an_interrupted_run_deletes_its_cluster() -> None:
    argv = [sys.executable, "-m", "cluster", "up", "--name", "stopped", "--nodes", "1", "--disk", "50M"]
    with subprocess.Popen(argv, cwd=TESTS, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL) as runner:
        wait_until("etcd", lambda: bool((Group(f"{TOP}/stopped") / "control-plane/etcd").pids()))
        runner.send_signal(signal.SIGINT)
        assert runner.wait() == 130
    assert traces("stopped") == []


def test_a_kept_cluster_outlives_its_run() -> None:
    argv = [sys.executable, "-m", "cluster"]
    subprocess.run([*argv, "up", "--name", "kept", "--nodes", "1", "--disk", "50M", "--keep"], cwd=TESTS, check=True)
    assert cleanup.remove_abandoned() == []
    attached = Cluster.attach("kept")
    assert attached.nodes[0].running
    assert "node-0" in attached.kubectl("get", "nodes")
    subprocess.run([*argv, "down", "--name", "kept"], cwd=TESTS, check=True)
    assert traces("kept") == []


def test_pods_reach_the_api_server_each_other_and_this_machine(cluster: Cluster, tmp_path: Path) -> None:
    (tmp_path / "file").write_text("from the machine")
    server = ThreadingHTTPServer((cluster.host_address, 0), lambda *a: SimpleHTTPRequestHandler(*a, directory=tmp_path))
    thread = Thread(target=server.serve_forever)
    thread.start()
    pods = [_run_pod(cluster, node) for node in cluster.nodes]
    addresses = [cluster.kubectl("get", "pod", pod, "--output=jsonpath={.status.podIP}") for pod in pods]
    try:
        for node, pod, other in zip(cluster.nodes, pods, reversed(addresses), strict=True):
            pid = min(node.container_pids(str(_container(cluster, pod)["containerID"])))
            inside = ["nsenter", "--target", str(pid), "--net", sys.executable, "-c", _CLIENT]
            url = f"http://{cluster.host_address}:{server.server_port}/file"
            seen = node.exec([*inside, url, str(SERVICES[1]), other])
            assert seen.split("\n") == ["from the machine", "API server", "pod", ""]
    finally:
        server.shutdown()
        thread.join()
        server.server_close()


# Run in a pod's network namespace: gets a file of the machine's, the API server by its Service, a pod on another node.
# Nothing listens there: a refused connection is the pod's answer.
_CLIENT = """
import contextlib, socket, sys, urllib.request
url, service, pod = sys.argv[1:]
print(urllib.request.urlopen(url, timeout=5).read().decode())
socket.create_connection((service, 443), timeout=5)
print("API server")
with contextlib.suppress(ConnectionRefusedError):
    socket.create_connection((pod, 80), timeout=5)
print("pod")
"""


def test_a_process_in_a_container_is_killed(cluster: Cluster) -> None:
    node = cluster.nodes[0]
    pod = _run_pod(cluster, node)
    container = str(_container(cluster, pod)["containerID"])
    assert node.kill_in_container(container, r"no such process") == 0
    assert node.kill_in_container(container, r"^/pause") == 1
    _wait_restarted(cluster, pod)


def test_pods_survive_a_restart_of_the_kubelet_and_containerd(cluster: Cluster) -> None:
    node = cluster.nodes[0]
    pod = _run_pod(cluster, node)
    container = str(_container(cluster, pod)["containerID"])
    node.stop_kubelet()
    node.stop_containerd()
    assert node.container_pids(container)  # the pods keep running
    node.start_containerd()
    node.start_kubelet()
    cluster.wait_ready([node])
    assert node.container_pids(container)


def test_a_node_keeps_its_disk_when_it_is_stopped_and_started(cluster: Cluster) -> None:
    node = cluster.nodes[1]
    pod = _run_pod(cluster, node)
    node.exec(["touch", f"{DISK_MOUNT}/written"])
    node.stop()
    assert not node.running
    cluster.wait_not_ready(node)
    node.start()
    cluster.wait_ready([node])
    _wait_restarted(cluster, pod)
    assert "written" in node.exec(["ls", DISK_MOUNT])


def test_a_lost_disk_is_replaced_by_an_empty_one(cluster: Cluster) -> None:
    lost, other = cluster.nodes
    for node in cluster.nodes:
        node.exec(["touch", f"{DISK_MOUNT}/model"])
    lost.lose_disk()
    cluster.wait_ready([lost])
    assert lost.exec(["ls", DISK_MOUNT]).split() == ["lost+found"]
    assert "model" in other.exec(["ls", DISK_MOUNT])


def test_a_node_is_added_and_removed(cluster: Cluster) -> None:
    node = cluster.add_node(disk="50M")
    _run_pod(cluster, node)
    size = os.fsencode(node.exec(["stat", "--file-system", "--format=%b %S", DISK_MOUNT])).split()
    assert 30e6 < int(size[0]) * int(size[1]) < 50 * 2**20
    cluster.remove_node(node.name)
    assert node.name not in cluster.kubectl("get", "nodes")
    assert not [trace for trace in traces(cluster.name) if node.name in trace]
