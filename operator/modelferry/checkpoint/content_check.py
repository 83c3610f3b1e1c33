"""The last check of a file whose source declares no digest, or whose digest is wrong. Blocking."""

from __future__ import annotations

import os

from modelferry.manifest import FileEntry
from modelferry.manifest.sniffing import SNIFF_SIZE, mistaken_content


def mistaken_file(fd: int, entry: FileEntry) -> str:
    """What the open file `entry` plainly is instead of what its name says, as `mistaken_content` describes it; empty if
    nothing speaks against it."""
    return mistaken_content(entry.path, os.pread(fd, SNIFF_SIZE, 0), entry.size)
