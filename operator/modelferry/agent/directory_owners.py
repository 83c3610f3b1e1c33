"""The record of the artifact that a directory on a node belongs to. With it, a directory can be told from others when
its node has lost the labels, and its cluster the artifact.

The record of ``root/NAMESPACE/NAME`` is the file ``root/NAMESPACE/.NAME.owner``, beside the directory, where only root
may write. No artifact can have such a name.
"""

from __future__ import annotations

import fcntl
import os
from contextlib import suppress
from dataclasses import dataclass

from modelferry.storage.tree import fsync_directory

_MAX_BYTES = 256


@dataclass(frozen=True, slots=True)
class Owner:
    """An artifact's ``uid`` in the cluster whose namespace kube-system has the uid ``cluster``."""

    cluster: str
    uid: str

    @classmethod
    def parse(cls, text: str) -> Owner:
        """Split ``CLUSTER/UID``. Raises ValueError."""
        cluster, _, uid = text.strip().partition("/")
        if not cluster or not uid or "/" in uid:
            raise ValueError(f"owner {text!r} is not CLUSTER/UID")
        return cls(cluster, uid)

    def __str__(self) -> str:
        return f"{self.cluster}/{self.uid}"


def lock_namespace(namespace: int) -> None:
    """Hold the lock of the namespace's directory until its descriptor is closed: nobody else changes the records and
    the existence of the directories in it."""
    fcntl.flock(namespace, fcntl.LOCK_EX)


def read_owner(namespace: int, name: str) -> Owner | None:
    """The owner of directory `name`; None if there is no record, or one that cannot be read."""
    try:
        descriptor = os.open(
            _record(name), os.O_RDONLY | os.O_NOFOLLOW | os.O_CLOEXEC | os.O_NONBLOCK, dir_fd=namespace
        )
    except OSError:
        return None
    with os.fdopen(descriptor, "rb") as file:
        try:
            return Owner.parse(file.read(_MAX_BYTES).decode())
        except (ValueError, OSError):
            return None


def write_owner(namespace: int, name: str, owner: Owner) -> None:
    """Record the owner of directory `name`, atomically and durably."""
    if read_owner(namespace, name) == owner:
        return
    temporary = f"{_record(name)}.new"
    with suppress(FileNotFoundError):
        os.unlink(temporary, dir_fd=namespace)
    flags = os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC
    with os.fdopen(os.open(temporary, flags, 0o644, dir_fd=namespace), "wb") as file:
        file.write(f"{owner}\n".encode())
        file.flush()
        os.fsync(file.fileno())
    os.rename(temporary, _record(name), src_dir_fd=namespace, dst_dir_fd=namespace)
    fsync_directory(namespace)


def remove_owner(namespace: int, name: str) -> None:
    """Remove the record of directory `name`, if there is one."""
    with suppress(FileNotFoundError):
        os.unlink(_record(name), dir_fd=namespace)


def recorded_names(namespace: int) -> list[str]:
    """The names of the directories that have a record, sorted."""
    with os.scandir(namespace) as entries:
        found = [entry.name for entry in entries]
    return sorted(name[1:].removesuffix(".owner") for name in found if name.startswith(".") and name.endswith(".owner"))


def _record(name: str) -> str:
    return f".{name}.owner"
