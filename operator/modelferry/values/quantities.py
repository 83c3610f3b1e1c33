"""Sizes, rates, counts and durations as text, and durations read from text."""

from __future__ import annotations

import re

_UNITS = ("bytes", "KiB", "MiB", "GiB", "TiB", "PiB")
_DURATION = re.compile(r"(?:(\d{1,5})h)?(?:(\d{1,6})m)?(?:(\d{1,7})s)?")


def size_text(size: int) -> str:
    """`size` bytes in binary units, at most one decimal: ``3.7 GiB``, ``512 MiB``, ``17 bytes``."""
    amount, unit = _scaled(size)
    return f"{amount:.0f} {unit}" if amount >= 100 or amount.is_integer() else f"{amount:.1f} {unit}"


def rate_text(rate: float) -> str:
    """Bytes per second in binary units: ``48 MiB/s``."""
    return f"{size_text(round(rate))}/s"


def size_column(size: int) -> str:
    """`size` bytes for a table's column, in the suffixes of Kubernetes quantities: ``1.0Gi``, ``512Mi``, ``17``."""
    return _column(size, "").removesuffix("B")


def rate_column(rate: float) -> str:
    """Bytes per second for a table's column: ``50.0MiB/s``."""
    return f"{_column(rate, 'B')}/s"


def count_text(count: int, noun: str) -> str:
    """A count with its noun: ``1 file``, ``2 files``, ``2 retries``."""
    plural = f"{noun[:-1]}ies" if noun.endswith("y") else f"{noun}s"
    return f"{count} {noun if count == 1 else plural}"


def duration_text(seconds: float) -> str:
    """Seconds as ``23s``, ``4m10s`` or ``2h5m``: the inverse of `parse_duration`, rounded to two units."""
    total = max(0, round(seconds))
    if total < 60:
        return f"{total}s"
    if total < 3600:
        return f"{total // 60}m{total % 60}s" if total % 60 else f"{total // 60}m"
    return f"{total // 3600}h{total % 3600 // 60}m"


def parse_duration(text: str) -> float | None:
    """The seconds of ``90s``, ``4m10s`` or ``2h``; None if `text` is not a duration."""
    match = _DURATION.fullmatch(text)
    if not text or match is None:
        return None
    return sum(int(part or 0) * unit for part, unit in zip(match.groups(), (3600, 60, 1), strict=True)) * 1.0


def _scaled(size: float) -> tuple[float, str]:
    """`size` as an amount of the largest unit that is not larger than it."""
    amount, unit = float(size), 0
    while amount >= 1024 and unit < len(_UNITS) - 1:
        amount, unit = amount / 1024, unit + 1
    return amount, _UNITS[unit]


def _column(size: float, byte: str) -> str:
    """Always one decimal below 100, so that a column keeps its width; `byte` is the unit below 1024."""
    amount, unit = _scaled(size)
    if unit == _UNITS[0]:
        return f"{amount:.0f}{byte}"
    return f"{amount:.0f}{unit}" if amount >= 100 else f"{amount:.1f}{unit}"
