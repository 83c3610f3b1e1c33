"""Reads the manifest file that ``fetch`` and ``checkpoint`` share."""

from __future__ import annotations

from pathlib import Path

from modelferry.errors import InvalidSpec
from modelferry.manifest import Manifest, decode


def read_manifest(path: Path) -> Manifest:
    """The manifest in the file at `path`. Raises InvalidSpec if it cannot be read or is not a manifest."""
    try:
        return decode(path.read_bytes())
    except (OSError, ValueError) as error:
        raise InvalidSpec(f"{path}: {getattr(error, 'strerror', None) or error}; check --manifest") from error
