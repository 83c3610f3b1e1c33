"""Is there enough disk space? Checked before the first byte is requested."""

from __future__ import annotations

import os

from modelferry.errors import InsufficientSpace
from modelferry.values.quantities import size_text

#: Bytes that are kept free for chunks.db with its WAL, for directories and for the file system's own extents.
RESERVE = 16 * 1024 * 1024

#: Bytes in a block as stat(2) counts them, whatever the file system's own block size.
_STAT_BLOCK = 512


def allocated_bytes(status: os.stat_result) -> int:
    """Bytes on the disk that a file has."""
    return status.st_blocks * _STAT_BLOCK


def check_space(root: str, total: int, allocated: int, free: int, capacity: int, mounted: int = 0) -> None:
    """Raise InsufficientSpace if `free` bytes do not hold the part of `total` that is not `allocated` yet. `mounted`:
    bytes of earlier revisions that running pods read."""
    needed = max(0, total - allocated)
    shortfall = needed + RESERVE - free
    if needed == 0 or shortfall <= 0:
        return
    held = f", and pods that run with an earlier revision hold {size_text(mounted)}" if mounted else ""
    restart = ", or restart these pods" if mounted else ""
    raise InsufficientSpace(
        f"{root}: {size_text(shortfall)} are missing: the model of {size_text(total)} needs {size_text(needed)} more"
        f" (and {size_text(RESERVE)} for its records), but {size_text(free)} of {size_text(capacity)} are free{held};"
        f" free some space or use a larger disk{restart}",
        shortfall=shortfall,
    )
