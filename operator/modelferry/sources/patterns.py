"""Which files are taken: ``include`` and ``exclude``, as huggingface_hub's allow_patterns and ignore_patterns."""

from __future__ import annotations

from collections.abc import Sequence
from fnmatch import fnmatchcase


def taken(path: str, include: Sequence[str], exclude: Sequence[str]) -> bool:
    """Whether `path` matches one of `include` (or there are none), and none of `exclude`.

    ``*`` stands for any characters, slashes too; a pattern that ends with a slash for all below that directory.
    """
    return (not include or _any(path, include)) and not _any(path, exclude)


def _any(path: str, patterns: Sequence[str]) -> bool:
    return any(fnmatchcase(path, f"{pattern}*" if pattern.endswith("/") else pattern) for pattern in patterns)
