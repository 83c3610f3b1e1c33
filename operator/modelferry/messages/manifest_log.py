"""A manifest printed to a pod's log and read from there: the resolve pod has no API token, so the log is its way out.

Lines ``modelferry-manifest <part> <base64>`` and at last ``modelferry-manifest end <parts> <sha256>``. Other lines
(the log merges standard error) are passed over; a log that was cut or rotated fails the digest, never half-reads.
"""

from __future__ import annotations

import base64
import binascii
import hashlib

_WORD = "modelferry-manifest"
#: Raw bytes a line: its base64 stays well under the 16 KiB at which the container runtime splits a line.
_PART = 6000


def print_manifest(data: bytes) -> str:
    """The lines that carry `data` (an encoded manifest)."""
    parts = [base64.b64encode(data[i : i + _PART]).decode() for i in range(0, len(data), _PART)]
    lines = [f"{_WORD} {number} {part}" for number, part in enumerate(parts)]
    return "\n".join([*lines, f"{_WORD} end {len(parts)} {hashlib.sha256(data).hexdigest()}", ""])


def read_manifest(log: str) -> bytes | None:
    """The bytes that `print_manifest` printed somewhere in `log`, or None where they are not there whole."""
    parts: dict[str, str] = {}
    end: tuple[str, str] | None = None
    for line in log.splitlines():
        match line.split(" "):
            case [word, "end", count, digest] if word == _WORD:
                end = count, digest
            case [word, number, part] if word == _WORD:
                parts[number] = part
    if end is None:
        return None
    try:
        data = b"".join(base64.b64decode(parts[str(number)], validate=True) for number in range(int(end[0])))
    except (KeyError, ValueError, binascii.Error):
        return None
    return data if hashlib.sha256(data).hexdigest() == end[1] else None
