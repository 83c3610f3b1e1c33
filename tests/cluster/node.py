"""A node of a cluster: starting and stopping it, losing its disk, and running commands on it."""

from __future__ import annotations

import json
import re
import shutil
import signal
import uuid
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

from . import network
from .cgroups import Group
from .daemon import Daemon
from .network import Subnet
from .node_files import INIT, NodeFiles
from .pki import Pki
from .shell import ClusterError, Word, run, wait_until

PROGRAMS = ("init", "containerd", "kubelet", "kube-proxy")
INIT_READY = "sleep infinity"  # the command line of the first process when the file systems are mounted
UNITS = {"": 1, "K": 2**10, "M": 2**20, "G": 2**30, "T": 2**40}
IMPORT_TIMEOUT = 300  # seconds


@dataclass(frozen=True)
class ClusterParts:
    """The properties of its cluster that a node needs. `data`: the cluster's directory; `binaries`: that of its
    programs."""

    name: str
    subnet: Subnet
    data: Path
    group: Group
    binaries: Path
    pki: Pki


@dataclass(frozen=True)
class Node:
    """The `index`-th node of a cluster. `disk_size`: of the disk at /var/lib/modelferry, such as 300M or 3G (powers of
    1024); the file system takes a little of it."""

    cluster: ClusterParts
    name: str
    index: int
    disk_size: str

    @classmethod
    def create(cls, cluster: ClusterParts, name: str, index: int, disk_size: str) -> Node:
        """A new node's files and disk; it is not started yet."""
        node = cls(cluster, name, index, disk_size)
        node.directory.mkdir(parents=True)
        node._make_disk()
        cluster.pki.add_node(name, node.address)
        node._files.write(name, index, cluster.subnet, cluster.pki, node.group)
        (node.directory / "node.json").write_text(json.dumps({"index": index, "disk_size": disk_size}))
        return node

    @classmethod
    def load(cls, cluster: ClusterParts, name: str) -> Node:
        """A node that this or another process created."""
        content = json.loads((nodes_directory(cluster.data) / name / "node.json").read_text())
        return cls(cluster, name, content["index"], content["disk_size"])

    @property
    def directory(self) -> Path:
        """The node's files."""
        return nodes_directory(self.cluster.data) / self.name

    @property
    def address(self) -> str:
        """The node's IP address."""
        return self.cluster.subnet.node(self.index)

    @property
    def group(self) -> Group:
        """The cgroup of everything that runs on the node."""
        return self.cluster.group / self.name

    # --- machine ----------------------------------------------------------------------------------------------------

    def start(self, images: Sequence[Path] = ()) -> None:
        """Starts the machine: its file system, containerd (which imports `images`) and then the kubelet and
        kube-proxy."""
        self.boot(images)
        self.start_kubernetes()

    def boot(self, images: Sequence[Path] = ()) -> None:
        """Starts the machine as far as containerd, which imports `images`; it does not need the API server."""
        self.group.create()
        self._boot_id.write_text(f"{uuid.uuid4()}\n")
        network.create_node_network(self.cluster.name, self.name, self.index, self.cluster.subnet)
        self._start_init()
        self.start_containerd()
        for image in images:
            self.load_image(image)

    def start_kubernetes(self) -> None:
        """Starts the kubelet and kube-proxy on a booted machine."""
        self.start_kubelet()
        proxy: list[Word] = [self.cluster.binaries / "kube-proxy", f"--config={self._files.kube_proxy}"]
        self._daemons["kube-proxy"].start([*self._inside(), *proxy])

    def stop(self) -> None:
        """Simulates a power failure: all processes of the node, also in pods, are killed, and the node is unreachable.

        Unlike after a power failure, unsynced writes persist, since the machine's kernel keeps running.
        """
        self.group.kill()
        self.reap()
        self.group.remove()
        network.delete_node_network(self.cluster.name, self.name, self.index)

    def reap(self) -> None:
        """Waits for the node's killed programs."""
        for daemon in self._daemons.values():
            daemon.reap()

    def lose_disk(self) -> None:
        """Replaces the disk at /var/lib/modelferry by an empty one, and starts the node again if it was running."""
        running = self.running
        if running:
            self.stop()
        self._make_disk()
        if running:
            self.start()

    def delete(self) -> None:
        """Removes a stopped node's files and disk."""
        shutil.rmtree(self.directory)

    @property
    def running(self) -> bool:
        """Whether the node's machine is on (the kubelet may be stopped)."""
        return bool(self._init_group.pids())

    # --- programs ---------------------------------------------------------------------------------------------------

    def start_kubelet(self) -> None:
        """Starts the kubelet, which registers a new node."""
        self._kubelet_stamp.touch()
        arguments = [
            f"--config={self._files.kubelet}",
            f"--kubeconfig={self.cluster.pki.kubeconfig(self.name)}",
            f"--hostname-override={self.name}",
            f"--node-ip={self.address}",
            f"--boot-id-file={self._boot_id}",  # a new boot ID, although the machine's kernel keeps running
        ]
        self._daemons["kubelet"].start([*self._inside(), self.cluster.binaries / "kubelet", *arguments])

    def stop_kubelet(self) -> None:
        """Kills the kubelet; the pods keep running, and after a while the node is NotReady."""
        self._daemons["kubelet"].stop()

    @property
    def kubelet_started(self) -> float:
        """When the kubelet was last started, in seconds since the epoch; 0: never."""
        return self._kubelet_stamp.stat().st_mtime if self._kubelet_stamp.exists() else 0

    def start_containerd(self) -> None:
        """Starts containerd and returns when it answers."""
        self._daemons["containerd"].start([*self._inside(), "containerd", "--config", self._files.containerd])
        wait_until(f"{self.name}'s containerd", self._containerd_answers)

    def stop_containerd(self) -> None:
        """Kills only containerd; the containers and their shims keep running."""
        group = self.group / "containerd"
        for pid in group.pids():
            if _command_line(pid).startswith("containerd "):  # not containerd-shim-runc-v2
                group.signal(pid, signal.SIGKILL)
        self._daemons["containerd"].reap()

    # --- commands and containers -------------------------------------------------------------------------------------

    def exec(self, argv: Sequence[Word], timeout: float = 60) -> str:
        """Runs a command on the node, in its namespaces, and returns what it printed; `timeout` in seconds."""
        return run((self.group / "exec").joining([*self._inside(), *argv]), timeout=timeout)

    def load_image(self, tar: Path) -> None:
        """Imports an image into the node's containerd."""
        self.exec(["ctr", "-n", "k8s.io", "images", "import", tar], timeout=IMPORT_TIMEOUT)

    def container_pids(self, container_id: str) -> set[int]:
        """The processes of a container, by its id (as in a pod's status, with or without `containerd://`)."""
        group = self._container_group(container_id)
        return group.pids() if group else set()

    def kill_in_container(self, container_id: str, pattern: str = "", number: int = signal.SIGKILL) -> int:
        """Signals the container's processes whose command line matches the regular expression `pattern` (all of them
        without one), and returns their number."""
        group = self._container_group(container_id)
        if group is None:
            return 0
        matching = [pid for pid in group.pids() if re.search(pattern, _command_line(pid))]
        return sum(group.signal(pid, number) for pid in matching)

    # --- internals --------------------------------------------------------------------------------------------------

    @property
    def _files(self) -> NodeFiles:
        return NodeFiles(self.directory)

    @cached_property
    def _daemons(self) -> dict[str, Daemon]:
        logs = self.cluster.data / "logs"
        return {p: Daemon(self.group / p, logs / f"{self.name}-{p}.log") for p in PROGRAMS}

    def _container_group(self, container_id: str) -> Group | None:
        return self.group.descendant(container_id.removeprefix("containerd://"))

    def _start_init(self) -> None:
        netns = network.inside(network.node_netns(self.cluster.name, self.name))
        script: list[Word] = ["sh", "-c", INIT, "init", self.directory, self.name]
        self._daemons["init"].start([*netns, "unshare", "--mount", "--uts", *script])
        wait_until(f"{self.name}'s file system", self._initialized)

    def _initialized(self) -> bool:
        self._daemons["init"].check()
        return [_command_line(pid) for pid in self._init_group.pids()] == [INIT_READY]

    def _containerd_answers(self) -> bool:
        self._daemons["containerd"].check()
        return bool(self.exec(["ctr", "version"]))

    def _inside(self) -> list[Word]:
        """The prefix of a command that runs in the node's namespaces."""
        pids = self._init_group.pids()
        if not pids:
            raise ClusterError(f"{self.name} is stopped")
        return ["nsenter", "--target", str(min(pids)), "--mount", "--uts", "--net"]

    @property
    def _kubelet_stamp(self) -> Path:
        return self.directory / "kubelet-started"

    @property
    def _boot_id(self) -> Path:
        return self.directory / "boot-id"

    @property
    def _init_group(self) -> Group:
        return self.group / "init"

    def _make_disk(self) -> None:
        disk = self._files.disk
        disk.unlink(missing_ok=True)
        with disk.open("wb") as file:
            file.truncate(parse_size(self.disk_size))
        run(["mkfs.ext4", "-q", "-m", "0", "-E", "nodiscard", disk])


def nodes_directory(data: Path) -> Path:
    """The directory of the nodes' files, in the cluster's directory `data`."""
    return data / "nodes"


def parse_size(text: str) -> int:
    """A size such as 300M or 3G, in bytes (powers of 1024)."""
    match = re.fullmatch(r"(\d+)([KMGT]?)", text)
    if not match:
        raise ClusterError(f"invalid size {text!r}; use a number with K, M, G or T, such as 300M or 3G")
    return int(match[1]) * UNITS[match[2]]


def _command_line(pid: int) -> str:
    """A process' command line, with spaces between the words; empty if the process has ended."""
    try:
        return Path(f"/proc/{pid}/cmdline").read_bytes().replace(b"\0", b" ").decode(errors="replace").strip()
    except FileNotFoundError:
        return ""
