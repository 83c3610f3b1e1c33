"""Numbers as people read and write them."""

from __future__ import annotations

import re

_UNITS = ("B", "KiB", "MiB", "GiB", "TiB", "PiB")


def binary(size: float) -> str:
    """Bytes with a binary unit: ``3.7 GiB``."""
    value, unit = float(size), 0
    while value >= 1024 and unit < len(_UNITS) - 1:
        value, unit = value / 1024, unit + 1
    return f"{value:.0f} {_UNITS[unit]}" if unit == 0 or value >= 100 else f"{value:.1f} {_UNITS[unit]}"


def short(size: float) -> str:
    """Bytes as Kubernetes writes quantities: ``3.7Gi``."""
    return binary(size).replace(" ", "").removesuffix("B")


def rate(speed: float) -> str:
    """Bytes per second: ``48 MiB/s``."""
    return f"{binary(speed)}/s"


def span(seconds: float) -> str:
    """Seconds as ``23s``, ``4m10s`` or ``2h5m``."""
    whole = max(0, round(seconds))
    if whole < 60:
        return f"{whole}s"
    if whole < 3600:
        return f"{whole // 60}m{whole % 60}s" if whole % 60 else f"{whole // 60}m"
    return f"{whole // 3600}h{whole % 3600 // 60}m"


_DURATION = re.compile(r"(?:(\d{1,5})h)?(?:(\d{1,6})m)?(?:(\d{1,7})s)?")


def seconds(text: str) -> float | None:
    """The reverse of `span`: ``90s``, ``4m10s``, ``2h`` in seconds; None where `text` is none of those."""
    match = _DURATION.fullmatch(text)
    if not text or match is None:
        return None
    return sum(int(part or 0) * unit for part, unit in zip(match.groups(), (3600, 60, 1), strict=True)) * 1.0
