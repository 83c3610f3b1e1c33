"""Finds the resources of a cluster on the machine, so that tests can check that none is left."""

from __future__ import annotations

from pathlib import Path

from cluster import registry
from cluster.cgroups import MOUNT, TOP
from cluster.network import link_name
from cluster.shell import run


def traces(name: str) -> list[str]:
    """All resources with the cluster's name: processes, namespaces, links, routes, mounts, loop devices, cgroups,
    files."""
    mark, data = link_name(name), f"{registry.data_root() / name}/"
    return [
        *_lines("process", "\n".join(_command_lines()), data),
        *_lines("namespace", run(["ip", "netns", "list"]), mark),
        *_lines("link", run(["ip", "-brief", "link"]), mark),
        *_lines("route", run(["ip", "route"]), mark),
        *_lines("mount", Path("/proc/self/mountinfo").read_text(), data),
        *_lines("loop device", run(["losetup", "--list", "--noheadings", "--output", "BACK-FILE"]), data),
        *(f"cgroup: {directory}" for directory in MOUNT.glob(f"**/{TOP}/{name}")),
        *(f"file: {location}" for location in (registry.DIRECTORY / name, Path(data)) if location.exists()),
    ]


def _lines(kind: str, text: str, mark: str) -> list[str]:
    return [f"{kind}: {line}" for line in text.splitlines() if mark in line]


def _command_lines() -> list[str]:
    found = []
    for file in Path("/proc").glob("[0-9]*/cmdline"):
        try:
            found.append(file.read_bytes().replace(b"\0", b" ").decode(errors="replace"))
        except (FileNotFoundError, ProcessLookupError):  # it has just ended
            continue
    return found
