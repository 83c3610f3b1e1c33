"""A manifest in a pod's log: the resolve pod has no API token, so the log carries its result.

Lines ``modelferry-manifest <part> <base64>``, then ``modelferry-manifest end <parts> <sha256>``. Other lines (the log
includes standard error) are skipped. A truncated or rotated log fails the digest, so it is never read in part.
"""

from __future__ import annotations

import base64
import binascii
import hashlib

_PREFIX = "modelferry-manifest"
#: Raw bytes per line: the base64 stays well below the 16 KiB at which the container runtime splits a line.
_PART_SIZE = 6000


def print_manifest(data: bytes) -> str:
    """The lines that carry `data` (an encoded manifest)."""
    parts = [base64.b64encode(data[i : i + _PART_SIZE]).decode() for i in range(0, len(data), _PART_SIZE)]
    lines = [f"{_PREFIX} {number} {part}" for number, part in enumerate(parts)]
    return "\n".join([*lines, f"{_PREFIX} end {len(parts)} {hashlib.sha256(data).hexdigest()}", ""])


def read_manifest(log: str) -> bytes | None:
    """The bytes that `print_manifest` printed into `log`, or None if they are incomplete."""
    parts: dict[str, str] = {}
    end: tuple[str, str] | None = None
    for line in log.splitlines():
        match line.split(" "):
            case [prefix, "end", count, digest] if prefix == _PREFIX:
                end = count, digest
            case [prefix, number, part] if prefix == _PREFIX:
                parts[number] = part
    if end is None:
        return None
    try:
        data = b"".join(base64.b64decode(parts[str(number)], validate=True) for number in range(int(end[0])))
    except (KeyError, ValueError, binascii.Error):
        return None
    return data if hashlib.sha256(data).hexdigest() == end[1] else None
