"""Deletes clusters: a given one, and those that a killed run left behind.

What to delete is read from the machine (cgroups, namespaces, loop devices) and not from records of the run, so that a
run may be killed at any point.
"""

from __future__ import annotations

import json
import shutil
from pathlib import Path

from . import network, registry
from .cgroups import TOP, Group
from .registry import Entry
from .shell import run, wait_until


def delete_cluster(entry: Entry) -> None:
    """Deletes a cluster's processes, links, namespaces, mounts, loop devices, cgroups and files."""
    group = Group(TOP) / entry.name
    group.kill()
    network.delete_cluster_network(entry.name)
    wait_until(f"the release of the disks of {entry.name}", lambda: _disks_released(entry.data))
    if entry.data.exists():
        shutil.rmtree(entry.data)
    group.remove()
    entry.deregister()


def remove_abandoned(kept: bool = False) -> list[str]:
    """Deletes every cluster whose owner has ended, `kept` ones only on request; returns their names."""
    with registry.locked():
        registry.remove_incomplete()
        abandoned = [e for e in registry.entries() if not e.owned() and (kept or not e.kept)]
        for entry in abandoned:
            delete_cluster(entry)
        _remove_orphaned_files()
    return [entry.name for entry in abandoned]


def _remove_orphaned_files() -> None:
    """Removes the files of clusters that are not registered, after a restart of the machine."""
    known = {entry.data for entry in registry.entries()}
    for directory in registry.data_root().glob("*"):
        if directory not in known:
            shutil.rmtree(directory)


def _disks_released(data: Path) -> bool:
    """Whether no loop device holds a file under `data`; the kernel releases them shortly after the last unmount."""
    devices = json.loads(run(["losetup", "--json", "--list", "--output", "NAME,BACK-FILE"]) or '{"loopdevices": []}')
    held = [d["name"] for d in devices["loopdevices"] if str(d["back-file"]).startswith(f"{data}/")]
    for device in held:
        run(["losetup", "--detach", device])
    return not held
