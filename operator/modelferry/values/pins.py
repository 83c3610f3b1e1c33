"""The grammar of a certificate pin: ``sha256/`` and the base64 of 32 bytes (RFC 7469 section 2.4)."""

from __future__ import annotations

import base64
import binascii

PREFIX = "sha256/"


def pin_error(pin: str) -> str | None:
    """What is wrong with `pin`, as the end of a sentence; None if it is valid."""
    try:
        digest = base64.b64decode(pin.removeprefix(PREFIX), validate=True)
    except (binascii.Error, ValueError):
        digest = b""
    if pin.startswith(PREFIX) and len(digest) == 32:
        return None
    return "must be sha256/ and the base64 of a SHA-256, 44 characters"
