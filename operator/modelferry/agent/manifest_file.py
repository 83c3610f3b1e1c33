"""The manifest that both agents of a download pod are given as a file."""

from __future__ import annotations

from pathlib import Path

from modelferry.errors import InvalidSpec
from modelferry.manifest import Manifest, decode


def read_manifest(path: Path) -> Manifest:
    """The manifest in the file at `path`; raises InvalidSpec."""
    try:
        return decode(path.read_bytes())
    except (OSError, ValueError) as error:
        raise InvalidSpec(f"{path}: {getattr(error, 'strerror', None) or error}; give a manifest") from error
