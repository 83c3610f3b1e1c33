"""The clusters of the machine, and their owners.

A cluster is registered before it is created and deregistered after it is deleted, so a cluster that is not registered
does not exist. Its owner holds a lock on the entry, which the kernel releases when the owner ends. A cluster whose lock
is free was abandoned, unless it is marked as kept.
"""

from __future__ import annotations

import fcntl
import json
import os
import re
import secrets
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from ipaddress import IPv4Network
from pathlib import Path
from typing import TextIO

from . import cache, network
from .network import Subnet
from .shell import ClusterError

DIRECTORY = Path("/run/modelferry-test")  # not in the cache, which belongs to one user
NAME = re.compile(r"[a-z0-9]([a-z0-9-]{0,9}[a-z0-9])?")  # with a prefix, a link name: at most 15 characters


@dataclass(frozen=True)
class Entry:
    """A registered cluster. `data`: the directory of its files; `kept`: it outlives its owner."""

    name: str
    data: Path
    subnet: Subnet
    kept: bool = False

    @property
    def owner(self) -> int | None:
        """The pid of the owner, or None if it is not written yet; for display only, never to signal."""
        text = _lock_file(self.name).read_text()
        return int(text) if text else None

    def owned(self) -> bool:
        """Whether the owner is alive."""
        with _lock_file(self.name).open("a") as handle:
            return not _try_lock(handle)

    def write(self) -> None:
        """Writes the entry atomically."""
        content = {"data": str(self.data), "subnet": str(self.subnet.network), "kept": self.kept}
        partial = DIRECTORY / self.name / "cluster.json.partial"
        partial.write_text(json.dumps(content))
        partial.rename(partial.with_suffix(""))

    def deregister(self) -> None:
        """Removes the entry, after the cluster was deleted."""
        shutil.rmtree(DIRECTORY / self.name)


@contextmanager
def locked() -> Iterator[None]:
    """Holds the lock for registration and cleanup."""
    DIRECTORY.mkdir(mode=0o700, exist_ok=True)
    with cache.lock(DIRECTORY / ".lock"):
        yield


def entries() -> list[Entry]:
    """All clusters of the machine."""
    found = []
    for directory in sorted(d for d in DIRECTORY.glob("*") if d.is_dir()):
        file = directory / "cluster.json"
        if not file.exists():  # not written yet
            continue
        content = json.loads(file.read_text())
        subnet = Subnet(IPv4Network(content["subnet"]))
        found.append(Entry(directory.name, Path(content["data"]), subnet, content["kept"]))
    return found


def remove_incomplete() -> None:
    """Removes entries whose owner was killed before it wrote them, and thus before it created anything. Call it while
    `locked()`."""
    for directory in DIRECTORY.glob("*"):
        if directory.is_dir() and not (directory / "cluster.json").exists():
            shutil.rmtree(directory)


def find(name: str) -> Entry:
    """The cluster called `name`."""
    known = {entry.name: entry for entry in entries()}
    if name not in known:
        raise ClusterError(f"no cluster {name!r} on this machine; the clusters are: {', '.join(known) or 'none'}")
    return known[name]


def register(name: str | None) -> tuple[Entry, TextIO]:
    """Registers a new cluster with a free subnet, and returns it with the owner's lock (a file that must stay open).
    Call it while `locked()`."""
    known = entries()
    name = name or _free_name({entry.name for entry in known})
    if not NAME.fullmatch(name):
        raise ClusterError(f"invalid cluster name {name!r}: use 1 to 11 of a-z, 0-9 and -")
    if any(entry.name == name for entry in known):
        raise ClusterError(f"the cluster {name!r} exists; delete it first: python3 -m cluster down --name {name}")
    subnet = network.free_subnet([*network.routed(), *(entry.subnet.network for entry in known)])
    entry = Entry(name, data_root() / name, subnet)
    remove_incomplete()
    (DIRECTORY / name).mkdir(mode=0o700)
    handle = _lock_file(name).open("w")
    fcntl.flock(handle, fcntl.LOCK_EX)
    handle.write(str(os.getpid()))
    handle.flush()
    entry.write()
    return entry, handle


def data_root() -> Path:
    """The directory of the files of this user's clusters: disks, images, logs, certificates."""
    return cache.root() / "clusters"


def _free_name(taken: set[str]) -> str:
    while True:
        name = f"t{secrets.token_hex(2)}"
        if name not in taken:
            return name


def _lock_file(name: str) -> Path:
    return DIRECTORY / name / "owner.lock"


def _try_lock(handle: TextIO) -> bool:
    try:
        fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    return True
