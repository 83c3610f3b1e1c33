"""The grammar of a network rate: ``40Mbit``, ``5MB``, ``5MiB``, each per second."""

from __future__ import annotations

import re

#: Bytes of one unit. Bits count by 1000, as network rates do; bytes by 1000 (MB) or 1024 (MiB).
UNITS = {
    "kbit": 125, "Mbit": 125_000, "Gbit": 125_000_000,
    "kB": 1000, "MB": 1000**2, "GB": 1000**3,
    "KiB": 1 << 10, "MiB": 1 << 20, "GiB": 1 << 30,
}  # fmt: skip

_RATE = re.compile(rf"([1-9][0-9]{{0,5}})({'|'.join(UNITS)})")

#: What the text must be; the CRD's message is the same.
GRAMMAR = (
    "must be a whole number from 1 to 999999 and a unit, per second: kbit, Mbit, Gbit (bits), kB, MB, GB (bytes by"
    " 1000) or KiB, MiB, GiB (bytes by 1024), such as 40Mbit or 5MB"
)


def parse_rate(text: str) -> int:
    """The bytes per second in `text`. Raises ValueError with the grammar and the text."""
    match = _RATE.fullmatch(text)
    if match is None:
        raise ValueError(f"{GRAMMAR}; not {text[:40]!r}")
    return int(match[1]) * UNITS[match[2]]


def bit_rate_text(rate: float) -> str:
    """Bytes per second in bits, as network rates are given: ``40 Mbit/s``, ``1.25 Gbit/s``."""
    bits = rate * 8
    for unit, name in ((1e9, "Gbit/s"), (1e6, "Mbit/s"), (1e3, "kbit/s")):
        if bits >= unit:
            return f"{bits / unit:.4g} {name}"
    return f"{bits:.0f} bit/s"
