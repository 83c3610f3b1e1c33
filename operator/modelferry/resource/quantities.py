"""Numbers as people read them."""

from __future__ import annotations

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
