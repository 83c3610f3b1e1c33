"""``spec.source``: where the files come from. One dataclass for each kind."""

from __future__ import annotations

from dataclasses import dataclass

from modelferry.manifest import Digest
from modelferry.resource.stores import OCISource, S3Source

MAX_FILES = 2000
#: Patterns of ``include``, and of ``exclude``.
MAX_PATTERNS = 64


@dataclass(frozen=True, slots=True)
class HTTPFile:
    """One file behind a URL. ``size`` in bytes; None and no digest: whatever the server has."""

    path: str
    url: str
    digest: Digest | None = None
    size: int | None = None


@dataclass(frozen=True, slots=True)
class HTTPSource:
    """Files named one by one, or by a checksum list beside them (``manifest_url``); exactly one of both."""

    files: tuple[HTTPFile, ...] = ()
    manifest_url: str = ""


#: Any kind of source.
Source = HTTPSource | S3Source | OCISource
