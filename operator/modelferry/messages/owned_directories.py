"""The directories on a node that belong to artifacts of a cluster, as a helper pod reports them to the controller."""

from __future__ import annotations

import json
from collections.abc import Iterable
from dataclasses import astuple, dataclass


@dataclass(frozen=True, slots=True)
class OwnedDirectory:
    """The directory of the artifact ``namespace/name`` that has the ``uid``."""

    namespace: str
    name: str
    uid: str

    @classmethod
    def parse(cls, text: str) -> OwnedDirectory:
        """The reverse of ``str``. Raises ValueError."""
        namespace, name, uid = text.split("/")
        return cls(namespace, name, uid)

    def __str__(self) -> str:
        return f"{self.namespace}/{self.name}/{self.uid}"


def encode_directories(directories: Iterable[OwnedDirectory]) -> str:
    """One line of a log."""
    return json.dumps([astuple(directory) for directory in directories])


def decode_directories(log: str) -> tuple[OwnedDirectory, ...]:
    """The directories in the last line of a log. Raises ValueError if it is not complete."""
    try:
        return tuple(OwnedDirectory(*item) for item in json.loads(log.strip().rpartition("\n")[2]))
    except TypeError as error:
        raise ValueError(f"not a list of directories: {error}") from error
