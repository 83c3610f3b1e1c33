"""``spec.source``: where the files come from. One dataclass for each kind."""

from __future__ import annotations

from dataclasses import dataclass

from modelferry.manifest import Digest
from modelferry.resource.object_stores import OCISource, S3Source

MAX_FILES = 2000
#: Patterns of ``include``, and of ``exclude``.
MAX_PATTERNS = 64
REPO_TYPES = ("model", "dataset")


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


@dataclass(frozen=True)
class HuggingFaceSource:
    """A repository of a Hugging Face Hub. ``repo``: owner/name or name; ``revision``: branch, tag or commit.

    ``include`` and ``exclude`` are patterns of paths: a file is taken that matches one of the first (or there are none)
    and none of the second. ``repo_type``: one of `REPO_TYPES`. ``endpoint``: the Hub's URL, without a slash at its end.
    """

    repo: str
    revision: str = "main"
    include: tuple[str, ...] = ()
    exclude: tuple[str, ...] = ()
    repo_type: str = "model"
    endpoint: str = "https://huggingface.co"


@dataclass(frozen=True)
class ModelScopeSource:
    """A model of ModelScope; the fields are those of `HuggingFaceSource`."""

    repo: str
    revision: str = "master"
    include: tuple[str, ...] = ()
    exclude: tuple[str, ...] = ()
    endpoint: str = "https://modelscope.cn"


#: Any kind of source.
Source = HTTPSource | HuggingFaceSource | ModelScopeSource | S3Source | OCISource
