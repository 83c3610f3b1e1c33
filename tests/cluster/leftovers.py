"""Takes clusters apart: one that is no longer wanted, and those that a killed run left behind.

What there is to remove is read from the machine (cgroups, namespaces, loop devices), never from notes of the run, so it
makes no difference how far the run came.
"""

from __future__ import annotations

import json
import shutil
from pathlib import Path

from . import network, registry
from .cgroups import TOP, Group
from .registry import Entry
from .shell import run, wait_until


def dismantle(entry: Entry) -> None:
    """Removes all of a cluster: processes, links, namespaces, mounts, loop devices, cgroups and files."""
    group = Group(TOP) / entry.name
    group.kill()
    network.drop_cluster(entry.name)
    wait_until(f"the release of the disks of {entry.name}", lambda: _disks_released(entry.data))
    if entry.data.exists():
        shutil.rmtree(entry.data)
    group.remove()
    entry.strike_out()


def sweep(kept: bool = False) -> list[str]:
    """Dismantles every cluster whose owner is gone, `kept` ones only on request; returns their names."""
    with registry.locked():
        registry.remove_unwritten()
        leftovers = [e for e in registry.entries() if not e.owned() and (kept or not e.kept)]
        for entry in leftovers:
            dismantle(entry)
        _remove_strays()
    return [entry.name for entry in leftovers]


def _remove_strays() -> None:
    """Removes the files of clusters that aren't entered: the machine was restarted under them."""
    known = {entry.data for entry in registry.entries()}
    for directory in registry.data_root().glob("*"):
        if directory not in known:
            shutil.rmtree(directory)


def _disks_released(data: Path) -> bool:
    """Whether no loop device holds a file under `data`; the kernel frees them a moment after the last mount is gone."""
    devices = json.loads(run(["losetup", "--json", "--list", "--output", "NAME,BACK-FILE"]) or '{"loopdevices": []}')
    held = [d["name"] for d in devices["loopdevices"] if str(d["back-file"]).startswith(f"{data}/")]
    for device in held:
        run(["losetup", "--detach", device])
    return not held
