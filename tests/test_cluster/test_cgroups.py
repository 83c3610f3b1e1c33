"""The processes of a cluster, with directories in place of both versions of the cgroup file system."""

from __future__ import annotations

import os
import signal
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

from cluster.cgroups import TOP, Group


@pytest.fixture
def version1(tmp_path: Path) -> Path:
    for controller in ("cpuset", "memory", "pids", "unified"):
        (tmp_path / controller).mkdir()
    (tmp_path / "cpuset" / "cpuset.cpus").write_text("0-1\n")
    (tmp_path / "alias").symlink_to(tmp_path / "memory")
    return tmp_path


@pytest.fixture
def version2(tmp_path: Path) -> Path:
    (tmp_path / "cgroup.controllers").write_text("cpu memory pids")
    (tmp_path / "cgroup.subtree_control").write_text("")
    return tmp_path


@pytest.fixture
def process() -> Iterator[subprocess.Popen[bytes]]:
    with subprocess.Popen(["sleep", "infinity"]) as running:
        yield running
        running.kill()


def _member(group: Group, pid: int) -> None:
    group.joining([])
    procs = group.mount / "pids" / group.path / "cgroup.procs"
    procs.write_text(f"{pid}\n")


def test_version_1_groups_are_created_in_every_hierarchy(version1: Path) -> None:
    group = Group(f"{TOP}/a/node-0", version1)
    group.create()
    for controller in ("cpuset", "memory", "pids"):
        assert (version1 / controller / group.path).is_dir()


def test_version_1_cpuset_is_inherited(version1: Path) -> None:
    directory = version1 / "cpuset" / TOP
    directory.mkdir()
    (directory / "cpuset.cpus").write_text("\n")  # empty, as the kernel creates it
    Group(TOP, version1).create()
    assert (directory / "cpuset.cpus").read_text() == "0-1\n"


def test_version_2_controllers_are_delegated(version2: Path) -> None:
    group = Group(f"{TOP}/a", version2)
    group.create()
    assert (version2 / group.path).is_dir()
    assert (version2 / "cgroup.subtree_control").read_text() == "+pids"  # the last of three writes to a plain file


def test_processes_of_all_groups_below_are_found(version1: Path) -> None:
    group = Group(f"{TOP}/a", version1)
    _member(group / "control-plane" / "etcd", 4)
    _member(group / "node-0" / "kubepods" / "c0ffee", 5)
    _member(Group(f"{TOP}/ab", version1), 6)
    assert group.pids() == {4, 5}
    container = group.descendant("c0ffee")
    assert container is not None
    assert container.pids() == {5}
    assert group.descendant("beef") is None


def test_a_process_of_the_group_is_signalled(version1: Path, process: subprocess.Popen[bytes]) -> None:
    group = Group(f"{TOP}/a", version1)
    _member(group, process.pid)
    assert group.signal(process.pid, signal.SIGKILL)
    assert process.wait() == -signal.SIGKILL


def test_a_pid_outside_the_group_is_not_signalled(version1: Path, process: subprocess.Popen[bytes]) -> None:
    group = Group(f"{TOP}/a", version1)
    _member(group, 1)
    assert not group.signal(process.pid, signal.SIGKILL)
    os.kill(process.pid, 0)  # it still exists


def test_a_process_that_has_ended_is_no_error(version1: Path) -> None:
    with subprocess.Popen(["true"]) as gone:
        gone.wait()
    group = Group(f"{TOP}/a", version1)
    _member(group, gone.pid)
    assert not group.signal(gone.pid, signal.SIGKILL)


def test_the_top_group_is_removed_with_the_last_cluster(version1: Path) -> None:
    first, second = Group(f"{TOP}/a", version1), Group(f"{TOP}/b", version1)
    first.create()
    second.create()
    (first / "node-0" / "kubepods").create()
    first.remove()
    assert not list(version1.glob(f"*/{first.path}"))
    assert (version1 / "pids" / TOP).is_dir()
    second.remove()
    assert not list(version1.glob(f"*/{TOP}"))
