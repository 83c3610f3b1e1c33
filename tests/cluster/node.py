"""A node of a cluster: its life as a machine (started, stopped, its disk lost) and a look inside."""

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
INIT_READY = "sleep infinity"  # what the first process becomes when the file system is made
UNITS = {"": 1, "K": 2**10, "M": 2**20, "G": 2**30, "T": 2**40}
IMPORT_TIMEOUT = 300  # seconds


@dataclass(frozen=True)
class ClusterParts:
    """What a node needs to know of its cluster. `data`: the cluster's directory; `binaries`: that of its programs."""

    name: str
    subnet: Subnet
    data: Path
    group: Group
    binaries: Path
    pki: Pki


@dataclass(frozen=True)
class Node:
    """The `index`-th node of a cluster. `disk_size`: of the disk at /var/lib/modelferry, such as 300M or 3G (powers of
    1024); the file system's own records take a little of it."""

    cluster: ClusterParts
    name: str
    index: int
    disk_size: str

    @classmethod
    def create(cls, cluster: ClusterParts, name: str, index: int, disk_size: str) -> Node:
        """A new node's files and disk; it isn't started yet."""
        node = cls(cluster, name, index, disk_size)
        node.directory.mkdir(parents=True)
        node._make_disk()
        cluster.pki.add_node(name, node.address)
        node._files.write(name, index, cluster.subnet, cluster.pki, node.group)
        (node.directory / "node.json").write_text(json.dumps({"index": index, "disk_size": disk_size}))
        return node

    @classmethod
    def load(cls, cluster: ClusterParts, name: str) -> Node:
        """A node that this or another process made."""
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

    # --- the machine ------------------------------------------------------------------------------------------------

    def start(self, images: Sequence[Path] = ()) -> None:
        """Starts the machine: its file system, containerd (which gets `images`) and then the kubelet and kube-proxy."""
        self.boot(images)
        self.start_kubernetes()

    def boot(self, images: Sequence[Path] = ()) -> None:
        """Starts the machine as far as containerd, which gets `images`; the API server isn't needed for it."""
        self.group.create()
        self._boot_id.write_text(f"{uuid.uuid4()}\n")
        network.raise_node(self.cluster.name, self.name, self.index, self.cluster.subnet)
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
        """A power cut: everything on the node is killed at once, the pods' processes too, and the node is silent.

        What was written stays written, synced or not: the kernel below goes on running.
        """
        self.group.kill()
        self.reap()
        self.group.remove()
        network.drop_node(self.cluster.name, self.name, self.index)

    def reap(self) -> None:
        """Lets go of the node's programs, which were killed."""
        for daemon in self._daemons.values():
            daemon.reap()

    def lose_disk(self) -> None:
        """Replaces the disk at /var/lib/modelferry by an empty one, and starts the node again when it was running."""
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
        """Whether the node's machine is on (its kubelet may be stopped all the same)."""
        return bool(self._init_group.pids())

    # --- its programs -----------------------------------------------------------------------------------------------

    def start_kubelet(self) -> None:
        """Starts the kubelet, which registers the node when it is new."""
        self._kubelet_stamp.touch()
        arguments = [
            f"--config={self._files.kubelet}",
            f"--kubeconfig={self.cluster.pki.kubeconfig(self.name)}",
            f"--hostname-override={self.name}",
            f"--node-ip={self.address}",
            f"--boot-id-file={self._boot_id}",  # a stopped node boots anew, though the kernel below goes on
        ]
        self._daemons["kubelet"].start([*self._inside(), self.cluster.binaries / "kubelet", *arguments])

    def stop_kubelet(self) -> None:
        """Kills the kubelet; the pods go on, and after a while the node is NotReady."""
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
        """Kills containerd alone: the containers and their shims go on."""
        group = self.group / "containerd"
        for pid in group.pids():
            if _command_line(pid).startswith("containerd "):  # and not containerd-shim-runc-v2
                group.signal(pid, signal.SIGKILL)
        self._daemons["containerd"].reap()

    # --- a look inside ----------------------------------------------------------------------------------------------

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
        without one), and returns how many it was."""
        group = self._container_group(container_id)
        if group is None:
            return 0
        matching = [pid for pid in group.pids() if re.search(pattern, _command_line(pid))]
        return sum(group.signal(pid, number) for pid in matching)

    # --- how --------------------------------------------------------------------------------------------------------

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
        wait_until(f"{self.name}'s file system", self._initialised)

    def _initialised(self) -> bool:
        self._daemons["init"].check()
        return [_command_line(pid) for pid in self._init_group.pids()] == [INIT_READY]

    def _containerd_answers(self) -> bool:
        self._daemons["containerd"].check()
        return bool(self.exec(["ctr", "version"]))

    def _inside(self) -> list[Word]:
        """The beginning of a command that runs the rest of it in the node's namespaces."""
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
    """Where the nodes of the cluster with the directory `data` have theirs."""
    return data / "nodes"


def parse_size(text: str) -> int:
    """A size such as 300M or 3G, in bytes (powers of 1024)."""
    match = re.fullmatch(r"(\d+)([KMGT]?)", text)
    if not match:
        raise ClusterError(f"{text!r} is no size; write it like 300M or 3G")
    return int(match[1]) * UNITS[match[2]]


def _command_line(pid: int) -> str:
    """A process' command line, its words parted by spaces; empty when the process is gone."""
    try:
        return Path(f"/proc/{pid}/cmdline").read_bytes().replace(b"\0", b" ").decode(errors="replace").strip()
    except FileNotFoundError:
        return ""
