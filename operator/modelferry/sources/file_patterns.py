"""Selects files by ``include`` and ``exclude``, as huggingface_hub by allow_patterns and ignore_patterns."""

from __future__ import annotations

from collections.abc import Sequence
from fnmatch import fnmatchcase


def selected(path: str, include: Sequence[str], exclude: Sequence[str]) -> bool:
    """Whether `path` matches one of `include` (or there are none), and none of `exclude`."""
    return (not include or matches(path, include)) and not matches(path, exclude)


def matches(path: str, patterns: Sequence[str]) -> bool:
    """Whether `path` matches one of `patterns`, by the rules of huggingface_hub's allow_patterns and ignore_patterns:
    fnmatch with regard to case, where ``*`` matches slashes too, and a pattern that ends with ``/`` is a directory.
    """
    return any(fnmatchcase(path, f"{pattern}*" if pattern.endswith("/") else pattern) for pattern in patterns)
