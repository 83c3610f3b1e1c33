"""The READY marker of a published revision, and which revisions stay."""

from __future__ import annotations

import builtins
import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from typing import Any

from modelferry.engine.storage import layout
from modelferry.engine.storage.tree import Tree


@dataclass(frozen=True, slots=True)
class ReadyFile:
    """``digest``: algorithm:hex over the whole file, as computed here. ``checksum``: verified, or unknown where the
    source declares no digest to compare it with."""

    path: str
    size: int
    digest: str
    checksum: str


@dataclass(frozen=True, slots=True)
class ReadyMarker:
    """``manifest``: the manifest's digest. ``bytes`` of all files. ``published``: seconds since 1970."""

    revision: str
    manifest: str
    bytes: int
    published: float
    files: tuple[ReadyFile, ...]

    def encode(self) -> builtins.bytes:
        """JSON, as it stands in the marker."""
        return json.dumps(asdict(self), indent=1).encode() + b"\n"

    @classmethod
    def decode(cls, data: builtins.bytes) -> ReadyMarker:
        """Raises ValueError where `data` is no marker."""
        try:
            body: dict[str, Any] = json.loads(data)
            files = tuple(ReadyFile(**item) for item in body.pop("files"))
            return cls(**body, files=files)
        except (TypeError, KeyError, AttributeError) as error:
            raise ValueError(f"not a READY marker: {error}") from error


def read(tree: Tree, revision: str) -> ReadyMarker | None:
    """The marker of `revision`, or None where there is none that can be read."""
    data = tree.read(layout.marker_path(revision))
    try:
        return ReadyMarker.decode(data) if data is not None else None
    except ValueError:
        return None


def current(tree: Tree) -> str | None:
    """The revision that ``current`` points at, or None."""
    directory, _, revision = (tree.readlink(layout.CURRENT) or "").partition("/")
    return revision if directory == layout.REVISIONS and revision and "/" not in revision else None


def retired(revision: str, previous: str | None, published: Mapping[str, float]) -> list[str]:
    """Which of the `published` revisions (name to time) go, now that ``current`` moved from `previous` to `revision`.

    The previous one stays, for those who still read it; where it is not known, the newest of the others.
    """
    others = sorted((name for name in published if name != revision), key=lambda name: published[name], reverse=True)
    kept = previous if previous in others else next(iter(others), None)
    return sorted(name for name in others if name != kept)
