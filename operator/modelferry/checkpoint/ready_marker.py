"""The READY marker of a published revision: its content."""

from __future__ import annotations

import builtins
import json
from dataclasses import asdict, dataclass
from typing import Any


@dataclass(frozen=True, slots=True)
class ReadyFile:
    """One file of the revision. ``digest``: algorithm:hex of the entire file, as computed on this machine.
    ``checksum``: "verified", or "unknown" if the source declares no digest to compare with."""

    path: str
    size: int
    digest: str
    checksum: str


@dataclass(frozen=True, slots=True)
class ReadyMarker:
    """The content of the marker. ``manifest``: digest of the manifest. ``bytes``: of all files. ``published``: seconds
    since 1970."""

    revision: str
    manifest: str
    bytes: int
    published: float
    files: tuple[ReadyFile, ...]

    def encode(self) -> builtins.bytes:
        """The marker as JSON."""
        return json.dumps(asdict(self), indent=1).encode() + b"\n"

    @classmethod
    def decode(cls, data: builtins.bytes) -> ReadyMarker:
        """The reverse of `encode`. Raises ValueError if `data` is not a marker."""
        try:
            body: dict[str, Any] = json.loads(data)
            files = tuple(ReadyFile(**item) for item in body.pop("files"))
            return cls(**body, files=files)
        except (TypeError, KeyError, AttributeError) as error:
            raise ValueError(f"not a READY marker: {error}") from error
