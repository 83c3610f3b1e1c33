"""Which clusters there are on the machine, and who owns each.

A cluster is entered here before anything of it is made and struck out after everything of it is gone, so what isn't
entered doesn't exist. Its owner holds a lock on the entry, which the kernel lets go of however the owner ends. So a
cluster whose lock is free is a leftover, unless it was asked to be kept.
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

DIRECTORY = Path("/run/modelferry-test")  # not in the cache: that is a user's, the machine's clusters are not
NAME = re.compile(r"[a-z0-9]([a-z0-9-]{0,9}[a-z0-9])?")  # with its prefix it names a link: 15 characters at most


@dataclass(frozen=True)
class Entry:
    """What is known of a cluster. `data`: the directory of its files; `kept`: it outlives its owner."""

    name: str
    data: Path
    subnet: Subnet
    kept: bool = False

    @property
    def owner(self) -> int | None:
        """The pid of the process that holds the lock, as far as it has said; for people to read, never to signal."""
        text = _lock_file(self.name).read_text()
        return int(text) if text else None

    def owned(self) -> bool:
        """Whether its owner is alive."""
        with _lock_file(self.name).open("a") as handle:
            return not _try_lock(handle)

    def write(self) -> None:
        """Enters it, whole or not at all."""
        content = {"data": str(self.data), "subnet": str(self.subnet.network), "kept": self.kept}
        partial = DIRECTORY / self.name / "cluster.json.partial"
        partial.write_text(json.dumps(content))
        partial.rename(partial.with_suffix(""))

    def strike_out(self) -> None:
        """Removes the entry: nothing of the cluster is left."""
        shutil.rmtree(DIRECTORY / self.name)


@contextmanager
def locked() -> Iterator[None]:
    """One at a time: entering, judging and cleaning."""
    DIRECTORY.mkdir(mode=0o700, exist_ok=True)
    with cache.lock(DIRECTORY / ".lock"):
        yield


def entries() -> list[Entry]:
    """All clusters of the machine."""
    found = []
    for directory in sorted(d for d in DIRECTORY.glob("*") if d.is_dir()):
        file = directory / "cluster.json"
        if not file.exists():  # about to be written
            continue
        content = json.loads(file.read_text())
        subnet = Subnet(IPv4Network(content["subnet"]))
        found.append(Entry(directory.name, Path(content["data"]), subnet, content["kept"]))
    return found


def remove_unwritten() -> None:
    """Removes entries whose owner was killed before it wrote them: nothing of their clusters was made. Call it while
    `locked()`."""
    for directory in DIRECTORY.glob("*"):
        if directory.is_dir() and not (directory / "cluster.json").exists():
            shutil.rmtree(directory)


def find(name: str) -> Entry:
    """The cluster called `name`."""
    known = {entry.name: entry for entry in entries()}
    if name not in known:
        raise ClusterError(f"no cluster {name!r} on this machine; there is: {', '.join(known) or 'none'}")
    return known[name]


def enter(name: str | None) -> tuple[Entry, TextIO]:
    """Enters a new cluster, with a subnet that nothing else uses, and returns it with its owner's lock (a file that
    must stay open). Call it while `locked()`."""
    known = entries()
    name = name or _free_name({entry.name for entry in known})
    if not NAME.fullmatch(name):
        raise ClusterError(f"{name!r}: a cluster's name is 1 to 11 of a-z, 0-9 and -")
    if any(entry.name == name for entry in known):
        raise ClusterError(f"there is a cluster {name!r}; take it down first: python3 -m cluster down --name {name}")
    subnet = network.free_subnet([*network.routed(), *(entry.subnet.network for entry in known)])
    entry = Entry(name, data_root() / name, subnet)
    remove_unwritten()
    (DIRECTORY / name).mkdir(mode=0o700)
    handle = _lock_file(name).open("w")
    fcntl.flock(handle, fcntl.LOCK_EX)
    handle.write(str(os.getpid()))
    handle.flush()
    entry.write()
    return entry, handle


def data_root() -> Path:
    """Where the clusters that this user raises keep their files: disks, images, logs, certificates."""
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
