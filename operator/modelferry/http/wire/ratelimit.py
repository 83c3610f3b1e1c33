"""The field RateLimit (draft-ietf-httpapi-ratelimit-headers-09), by which a Hugging Face Hub asks for a delay."""

from __future__ import annotations

import re

#: One policy's name, what is left of its quota, and the seconds until it is filled again: ``"api";r=0;t=55``.
_LIMIT = re.compile(r'"[^"]*"\s*;\s*r\s*=\s*(\d{1,9})\s*;\s*t\s*=\s*(\d{1,9})')


def until_reset(text: str) -> float | None:
    """Seconds until every quota that is used up is reset; None where none is used up.

    The field stands in good answers as well, so a quota with something left says nothing.
    """
    return max((float(wait) for left, wait in _LIMIT.findall(text) if int(left) == 0), default=None)
