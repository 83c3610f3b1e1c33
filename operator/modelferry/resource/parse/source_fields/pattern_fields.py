"""``include`` and ``exclude``, for every source with many files."""

from __future__ import annotations

from modelferry.resource.source import MAX_PATTERNS
from modelferry.resource.spec_fields import Fields

_MAX_PATTERN = 256


def parse_patterns(fields: Fields, key: str) -> tuple[str, ...]:
    """The patterns at `key`."""
    found = []
    for path, item in fields.items(key, MAX_PATTERNS):
        if not isinstance(item, str) or not 0 < len(item) <= _MAX_PATTERN:
            fields.errors.add(path, f"must be a pattern of 1 to {_MAX_PATTERN} characters, such as '*.safetensors'")
        else:
            found.append(item)
    return tuple(found)
