"""Creates, uses and deletes a cluster."""

from __future__ import annotations

import json
import os
import shutil
import time
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from datetime import datetime
from pathlib import Path
from types import TracebackType
from typing import Any, TextIO

from . import binaries, cache, cleanup, image, network, prerequisites, registry
from .cgroups import TOP, Group
from .control_plane import ControlPlane, server_names, server_url
from .network import MAX_NODES
from .node import ClusterParts, Node, nodes_directory
from .pki import Pki
from .registry import Entry
from .shell import ClusterError, Word, run, wait_until

READY_TIMEOUT = 120  # seconds from a kubelet's start until its node is Ready
LOGS_KEPT = 5  # clusters
KUBECTL_TIMEOUT = 300  # seconds; kubectl's own --timeout is the one to use


class Cluster:
    """A Kubernetes cluster on this machine. `nodes`: its current nodes, in the order in which they were added."""

    def __init__(self, entry: Entry, owner_lock: TextIO | None = None) -> None:
        self._entry = entry
        self._owner_lock = owner_lock  # open: this process owns the cluster
        pki = Pki(entry.data / "pki", server_url(entry.subnet))
        group = Group(TOP) / entry.name
        self._parts = ClusterParts(entry.name, entry.subnet, entry.data, group, binaries.kubernetes(), pki)
        self._control_plane = ControlPlane(
            network.link_name(entry.name), entry.subnet, entry.data, group / "control-plane", binaries.kubernetes(), pki
        )
        self.nodes: list[Node] = []

    @property
    def name(self) -> str:
        """The cluster's name, unique on this machine."""
        return self._entry.name

    @property
    def kubeconfig(self) -> Path:
        """The administrator's kubeconfig."""
        return self._parts.pki.kubeconfig("admin")

    @property
    def host_address(self) -> str:
        """The machine's address as seen by nodes and pods; they can reach a server that listens on it."""
        return self._entry.subnet.host

    @property
    def logs(self) -> Path:
        """The directory of the logs of all programs of the cluster."""
        return self._entry.data / "logs"

    # --- creation and deletion --------------------------------------------------------------------------------------

    @classmethod
    def up(cls, *, name: str | None = None, nodes: int = 2, disk: str = "3G", images: Sequence[Path] = ()) -> Cluster:
        """Creates a cluster and returns when its nodes are Ready. First it deletes the clusters of killed runs.

        `disk`: the size of each node's disk, such as 300M or 3G. `images`: tar files, for all nodes.
        """
        prerequisites.ensure_root()
        prerequisites.ensure(prerequisites.RUN_PACKAGES)
        binaries.kubernetes()
        cleanup.remove_abandoned()
        with registry.locked():
            entry, owner_lock = registry.register(name)
            cluster = cls(entry, owner_lock)
            # While locked: the deletion of another cluster removes the parent group if it is empty.
            cluster._parts.group.create()
        try:
            cluster._create(nodes, disk, images)
        except BaseException as error:  # also Ctrl-C: delete a partly created cluster
            error.add_note(f"the cluster's logs are in {cluster.save_logs()}")
            cluster.down()
            raise
        return cluster

    @classmethod
    def attach(cls, name: str) -> Cluster:
        """The cluster `name`, created by another process and kept."""
        cluster = cls(registry.find(name))
        directories = nodes_directory(cluster._entry.data).iterdir()
        nodes = [Node.load(cluster._parts, d.name) for d in directories if (d / "node.json").exists()]
        cluster.nodes = sorted(nodes, key=lambda node: node.index)
        return cluster

    def keep(self) -> None:
        """Lets the cluster outlive this process."""
        self._entry = replace(self._entry, kept=True)
        self._entry.write()

    def down(self) -> None:
        """Deletes the cluster."""
        with registry.locked():
            cleanup.delete_cluster(self._entry)
        self._control_plane.reap()
        for node in self.nodes:
            node.reap()
        if self._owner_lock:
            self._owner_lock.close()

    def __enter__(self) -> Cluster:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.down()

    # --- use --------------------------------------------------------------------------------------------------------

    def kubectl(self, *args: Word, input: str | None = None, timeout: float = KUBECTL_TIMEOUT) -> str:
        """Runs kubectl as the administrator and returns its output; `timeout` in seconds."""
        return run([binaries.kubectl_path(), *args], input=input, timeout=timeout, env=self._environment())

    def helm(self, *args: Word, timeout: float = KUBECTL_TIMEOUT) -> str:
        """Runs helm as the administrator and returns its output; `timeout` in seconds."""
        return run([binaries.helm_path(), *args], timeout=timeout, env=self._environment())

    def load_image(self, tar: Path) -> None:
        """Imports an image into every running node; nodes that are added later get it too."""
        self._images.mkdir(exist_ok=True)
        kept = self._images / f"{len(list(self._images.iterdir()))}-{tar.name}"
        try:
            kept.hardlink_to(tar)  # remains if the cache deletes the file
        except OSError:
            shutil.copy(tar, kept)
        with ThreadPoolExecutor() as pool:
            list(pool.map(lambda node: node.load_image(tar), [node for node in self.nodes if node.running]))

    def save_logs(self) -> Path:
        """Copies the logs into the cache, which keeps those of the last clusters, and returns their directory."""
        home = cache.root() / "logs"
        saved = home / f"{self.name}-{time.strftime('%Y%m%d-%H%M%S')}"
        if self.logs.exists():
            shutil.copytree(self.logs, saved)
            for old in sorted(home.iterdir(), key=lambda d: d.stat().st_mtime)[:-LOGS_KEPT]:
                shutil.rmtree(old)
        return saved

    # --- nodes ------------------------------------------------------------------------------------------------------

    def add_node(self, *, disk: str = "3G") -> Node:
        """Adds a node with a disk of the given size, such as 300M or 3G, and returns when it is Ready."""
        node = self._create_node(disk)
        try:
            node.start(self._image_files())
            self.wait_ready([node])
        except BaseException:  # also Ctrl-C: remove a partly created node
            self.remove_node(node.name)
            raise
        return node

    def remove_node(self, name: str) -> None:
        """Removes a node: stops its machine, and deletes its disk and its Node object."""
        node = self.node(name)
        if node.running:
            node.stop()
        self.kubectl("delete", "node", name, "--ignore-not-found")
        self.nodes.remove(node)
        node.delete()

    def node(self, name: str) -> Node:
        """The node called `name`."""
        for node in self.nodes:
            if node.name == name:
                return node
        raise ClusterError(f"no node {name!r} in {self.name}; the nodes are: {', '.join(n.name for n in self.nodes)}")

    def wait_ready(self, nodes: Sequence[Node], timeout: float = READY_TIMEOUT) -> None:
        """Returns when the nodes are Ready and each kubelet has renewed its Lease since its last start (a node that was
        stopped only briefly is Ready throughout); `timeout` in seconds."""

        def ready() -> bool:
            renewed = self._ready_nodes()
            return all(renewed.get(node.name, 0) > node.kubelet_started for node in nodes)

        wait_until(f"{', '.join(node.name for node in nodes)} to be Ready", ready, timeout)

    def wait_not_ready(self, node: Node, timeout: float = READY_TIMEOUT) -> None:
        """Returns when the node is NotReady; `timeout` in seconds."""
        wait_until(f"{node.name} to be NotReady", lambda: node.name not in self._ready_nodes(), timeout)

    # --- internals --------------------------------------------------------------------------------------------------

    def _create(self, nodes: int, disk: str, images: Sequence[Path]) -> None:
        self._entry.data.mkdir(mode=0o700, parents=True)
        self.logs.mkdir()
        network.create_cluster_network(self.name, self._entry.subnet)
        self._parts.pki.create(server_names(self._entry.subnet))
        for tar in [image.pause(), *images]:
            self.load_image(tar)
        created = [self._create_node(disk) for _ in range(nodes)]
        with ThreadPoolExecutor() as pool:  # the control plane and all machines in parallel
            boots = [pool.submit(node.boot, self._image_files()) for node in created]
            control_plane = pool.submit(self._control_plane.start)
            for future in [control_plane, *boots]:
                future.result()
        for node in created:
            node.start_kubernetes()
        self.wait_ready(created)
        wait_until("the default service account", self._has_default_account)

    def _create_node(self, disk: str) -> Node:
        index = 1 + max((node.index for node in self.nodes), default=-1)
        if index >= MAX_NODES:
            raise ClusterError(f"a cluster has addresses for {MAX_NODES} nodes")
        node = Node.create(self._parts, f"node-{index}", index, disk)
        self.nodes.append(node)
        return node

    def _ready_nodes(self) -> dict[str, float]:
        """The nodes that are Ready, with the last renewal of each kubelet's Lease in seconds since the epoch."""
        listed = self.kubectl("get", "nodes,leases", "--namespace=kube-node-lease", "--output=json")
        items = json.loads(listed)["items"]
        renewed = {i["metadata"]["name"]: _renew_time(i) for i in items if i["kind"] == "Lease"}
        ready = [i["metadata"]["name"] for i in items if i["kind"] == "Node" and _is_ready(i)]
        return {name: renewed.get(name, 0) for name in ready}

    def _has_default_account(self) -> bool:
        return bool(self.kubectl("get", "serviceaccount", "default", "--namespace=default", "--output=name"))

    @property
    def _images(self) -> Path:
        return self._entry.data / "images"

    def _image_files(self) -> list[Path]:
        return sorted(self._images.iterdir())

    def _environment(self) -> dict[str, str]:
        no_proxy = {"NO_PROXY": self._entry.subnet.control_plane}
        return {**os.environ, **no_proxy, "KUBECONFIG": str(self.kubeconfig)}


def _is_ready(node: dict[str, Any]) -> bool:
    conditions = node["status"].get("conditions", [])
    return any(c["type"] == "Ready" and c["status"] == "True" for c in conditions)


def _renew_time(lease: dict[str, Any]) -> float:
    """When a node's Lease was last renewed by its kubelet, in seconds since the epoch."""
    return datetime.fromisoformat(lease["spec"]["renewTime"]).timestamp()
