"""Entries of a manifest."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

from modelferry.manifest import Digest, FileEntry, Location

SHA = Digest("sha256", "a" * 64)


def entry(path: str, **changes: Any) -> FileEntry:
    """An entry of 10 bytes at `path`, with `changes`."""
    return replace(FileEntry(path, 10, SHA, (Location("https://h.example/x"),)), **changes)
