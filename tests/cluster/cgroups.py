"""The cgroups of a cluster, which identify its processes.

Every process of a cluster, also in its containers, is started in a cgroup of the cluster, which it cannot leave by
forking or when its parent ends. So process IDs need not be recorded, and a killed test runner loses track of no
process. A process is only signalled through a pidfd after a check that it is in the cgroup, so no other process can be
hit.

    /modelferry-test/CLUSTER/control-plane/kube-apiserver      one group per daemon
    /modelferry-test/CLUSTER/node-0/kubelet
    /modelferry-test/CLUSTER/node-0/kubepods/...               the kubelet's: the pods
"""

from __future__ import annotations

import contextlib
import os
import signal
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from .shell import Word, wait_until

MOUNT = Path("/sys/fs/cgroup")
TOP = "modelferry-test"
TRACKING_V1 = "pids"  # the version 1 hierarchy in which processes are tracked


@dataclass(frozen=True)
class Group:
    """A cgroup by its path under the root, in every hierarchy of the machine (version 2 has just one)."""

    path: str
    mount: Path = MOUNT

    def __truediv__(self, name: str) -> Group:
        return Group(f"{self.path}/{name}", self.mount)

    def joining(self, argv: Sequence[Word]) -> list[Word]:
        """The command `argv`, made to join the group before its first instruction runs; the group is made for it."""
        procs = self._tracking / self.path / "cgroup.procs"
        procs.parent.mkdir(parents=True, exist_ok=True)
        return ["sh", "-c", 'echo $$ >"$0" && exec "$@"', procs, *argv]

    def create(self) -> None:
        """Makes the group and those above it, with every controller that the machine has."""
        for root in self._hierarchies():
            directory = root
            for name in Path(self.path).parts:
                _delegate(directory)
                directory = directory / name
                directory.mkdir(exist_ok=True)
                _inherit_cpuset(directory)

    def pids(self) -> set[int]:
        """The processes in the group and in all groups under it."""
        found: set[int] = set()
        for file in (self._tracking / self.path).rglob("cgroup.procs"):
            with contextlib.suppress(OSError):  # the group is gone in this moment
                found.update(int(line) for line in file.read_text().split())
        return found - {0}  # 0: a process of a pid namespace that can't be seen from here

    def kill(self, timeout: float = 20) -> None:
        """Kills every process in the group as a power cut would (SIGKILL), until none remains; `timeout` in seconds."""
        wait_until(f"the end of the processes in {self.path}", self._kill_once, timeout)

    def signal(self, pid: int, number: int) -> bool:
        """Sends a signal to a process of the group; returns whether it was in the group.

        The pidfd refers to one process, even if its number is reused. So it is checked after the pidfd is opened.
        """
        try:
            pidfd = os.pidfd_open(pid)
        except ProcessLookupError:
            return False
        try:
            if pid not in self.pids():
                return False
            signal.pidfd_send_signal(pidfd, number)
            return True
        except ProcessLookupError:
            return False
        finally:
            os.close(pidfd)

    def remove(self) -> None:
        """Removes the group, all groups under it, and the top group after the last; their processes must be gone."""
        wait_until(f"the removal of the cgroup {self.path}", self._remove_once, timeout=10)
        for root in self._hierarchies():
            with contextlib.suppress(OSError):  # it is not empty, or does not exist
                (root / TOP).rmdir()

    def _remove_once(self) -> bool:
        for root in self._hierarchies():
            groups = [d for d in (root / self.path).rglob("*") if d.is_dir()]
            for directory in sorted([*groups, root / self.path], reverse=True):
                with contextlib.suppress(FileNotFoundError):
                    directory.rmdir()
        return True

    def descendant(self, name: str) -> Group | None:
        """A group somewhere under this one, by its last name (a container's is its id)."""
        for directory in (self._tracking / self.path).rglob(name):
            return Group(str(directory.relative_to(self._tracking)), self.mount)
        return None

    def _kill_once(self) -> bool:
        pids = self.pids()
        for pid in pids:
            self.signal(pid, signal.SIGKILL)
        return not pids

    @property
    def _version2(self) -> bool:
        return (self.mount / "cgroup.controllers").exists()

    @property
    def _tracking(self) -> Path:
        return self.mount if self._version2 else self.mount / TRACKING_V1

    def _hierarchies(self) -> list[Path]:
        if self._version2:
            return [self.mount]
        # Symlinks are other names of the same hierarchy (cpuacct -> cpu,cpuacct).
        return [d for d in self.mount.iterdir() if d.is_dir() and not d.is_symlink()]


def _delegate(directory: Path) -> None:
    """Version 2: lets the groups under `directory` have its controllers."""
    control = directory / "cgroup.subtree_control"
    if control.exists():
        wanted = set((directory / "cgroup.controllers").read_text().split()) - set(control.read_text().split())
        for controller in sorted(wanted):
            with contextlib.suppress(OSError):  # some are not available (cpu, while realtime processes run)
                control.write_text(f"+{controller}")


def _inherit_cpuset(directory: Path) -> None:
    """Version 1: a new cpuset group has no CPU and no memory node, and accepts no process until they are set."""
    for name in ("cpuset.cpus", "cpuset.mems"):
        file = directory / name
        if file.exists() and not file.read_text().strip() and (directory.parent / name).exists():
            file.write_text((directory.parent / name).read_text())
