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
    since 1970. ``snapshot``: the directory of a Hugging Face cache in which the files are too, or "". ``plain``: the
    files are under their own paths."""

    revision: str
    manifest: str
    bytes: int
    published: float
    files: tuple[ReadyFile, ...]
    snapshot: str = ""
    plain: bool = True

    @property
    def prefix(self) -> str:
        """What precedes the path of a file, beside the marker: "" or a directory with a slash."""
        return "" if self.plain else f"{self.snapshot}/"

    def encode(self) -> builtins.bytes:
        """The marker as JSON."""
        body = asdict(self)
        if not self.snapshot:  # as without layouts, for a Modelferry of another version in a consumer's pod
            del body["snapshot"], body["plain"]
        return json.dumps(body, indent=1).encode() + b"\n"

    @classmethod
    def decode(cls, data: builtins.bytes) -> ReadyMarker:
        """The reverse of `encode`. Raises ValueError if `data` is not a marker."""
        try:
            body: dict[str, Any] = json.loads(data)
            files = tuple(ReadyFile(**item) for item in body.pop("files"))
            return cls(**body, files=files)
        except (TypeError, KeyError, AttributeError) as error:
            raise ValueError(f"not a READY marker: {error}") from error
