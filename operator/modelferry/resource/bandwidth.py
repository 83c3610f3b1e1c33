"""Rates as users write them: ``40Mbit``, ``5MB``, ``5MiB``, each per second."""

from __future__ import annotations

import re

#: Bytes of one unit. Bits count by 1000, as lines are sold; bytes by 1000 (MB) or 1024 (MiB).
UNITS = {
    "kbit": 125, "Mbit": 125_000, "Gbit": 125_000_000,
    "kB": 1000, "MB": 1000**2, "GB": 1000**3,
    "KiB": 1 << 10, "MiB": 1 << 20, "GiB": 1 << 30,
}  # fmt: skip

_RATE = re.compile(rf"([1-9][0-9]{{0,5}})({'|'.join(UNITS)})")

#: What is wrong with anything else; the CRD says the same.
GRAMMAR = (
    "must be a whole number from 1 to 999999 and a unit, per second: kbit, Mbit, Gbit (bits), kB, MB, GB (bytes by"
    " 1000) or KiB, MiB, GiB (bytes by 1024), such as 40Mbit or 5MB"
)


def bytes_per_second(text: str) -> int:
    """The rate in `text`; raises ValueError that says what it must be and what it is."""
    match = _RATE.fullmatch(text)
    if match is None:
        raise ValueError(f"{GRAMMAR}; not {text[:40]!r}")
    return int(match[1]) * UNITS[match[2]]


def bits(rate: float) -> str:
    """Bytes per second as a line's rate: ``40 Mbit/s``, ``1.25 Gbit/s``."""
    value = rate * 8
    for unit, name in ((1e9, "Gbit/s"), (1e6, "Mbit/s"), (1e3, "kbit/s")):
        if value >= unit:
            return f"{value / unit:.4g} {name}"
    return f"{value:.0f} bit/s"
