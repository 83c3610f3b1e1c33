"""Is there room? Told before the first byte is asked for."""

from __future__ import annotations

from modelferry.errors import InsufficientSpace
from modelferry.values.quantities import size_text

#: Bytes kept for what is not the model: chunks.db with its log, directories, the file system's own extents.
RESERVE = 16 * 1024 * 1024


def check_room(root: str, total: int, allocated: int, free: int, capacity: int) -> None:
    """Raise InsufficientSpace where `free` bytes do not hold what of `total` is not `allocated` yet."""
    needed = max(0, total - allocated)
    shortfall = needed + RESERVE - free
    if needed == 0 or shortfall <= 0:
        return
    raise InsufficientSpace(
        f"{root}: {size_text(shortfall)} are missing: the model of {size_text(total)} needs {size_text(needed)} more"
        f" (and {size_text(RESERVE)} for its records), {size_text(free)} are free of {size_text(capacity)};"
        " make room or use a larger disk",
        shortfall=shortfall,
    )
