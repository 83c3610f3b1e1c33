"""Numbers as a person reads them."""

from __future__ import annotations

_STEPS = ((1 << 40, "TiB"), (1 << 30, "GiB"), (1 << 20, "MiB"), (1 << 10, "KiB"))


def size_text(size: int) -> str:
    """`size` bytes in binary units, one decimal below 100: ``3.7 GiB``, ``512 MiB``, ``17 bytes``."""
    for step, name in _STEPS:
        if size >= step:
            amount = size / step
            return f"{amount:.0f} {name}" if amount >= 100 or size % step == 0 else f"{amount:.1f} {name}"
    return f"{size} bytes"
