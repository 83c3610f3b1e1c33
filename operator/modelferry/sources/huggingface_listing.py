"""Reads how a Hugging Face Hub lists the files of a commit, and what it says of one file. Pure.

A mirror or a proxy may leave out what the Hub itself sends: the digests of the tree, the tree itself, or the sizes. So
each field may be missing, and is None then; a field of another type than the Hub's raises ValueError.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any

from modelferry.http.wire.fields import content_length
from modelferry.manifest import Digest
from modelferry.manifest.entries import GIT_SHA1
from modelferry.values.untrusted_json import json_field

_SHA256 = re.compile(r"[0-9a-f]{64}")
_SHA1 = re.compile(r"[0-9a-f]{40}")


@dataclass(frozen=True, slots=True)
class ListedFile:
    """A file of the commit. ``size`` in bytes and ``digest``: None where the endpoint does not list it."""

    path: str
    size: int | None = None
    digest: Digest | None = None

    @property
    def is_known(self) -> bool:
        """Are both listed?"""
        return self.size is not None and self.digest is not None


def tree_files(items: Iterable[Any]) -> list[ListedFile]:
    """The files in a page of ``/tree``, where large ones have ``lfs``, and small ones ``oid``."""
    found = []
    for item in items:
        kind = json_field(item, "type", str)
        if kind is None:
            raise ValueError("an entry has no type")
        if kind == "file":
            found.append(_listed(item, "path", "oid"))
    return found


def sibling_files(items: Iterable[Any]) -> list[ListedFile]:
    """The files in ``siblings`` of a commit's description. With ``blobs=true`` they have sizes and digests."""
    return [_listed(item, "rfilename", "blobId") for item in items]


def stated_digest(commit: str, responses: Iterable[Mapping[str, str]]) -> Digest | None:
    """The digest that the fields of a file's responses state, those of redirects included.

    The Hub sends it as the ETag: the SHA-256 of a large file in X-Linked-ETag, and Git's SHA-1 of a small one. A proxy
    may have another ETag, of 40 digits as well, so only a response that names `commit` counts. Artifactory has the
    SHA-256 in a field of its own.
    """
    for fields in responses:
        if _SHA256.fullmatch(found := fields.get("x-checksum-sha256", "")):
            return Digest("sha256", found)
        etag = _unquoted(fields.get("x-linked-etag") or fields.get("etag", ""))
        if fields.get("x-repo-commit") != commit:
            continue
        if _SHA256.fullmatch(etag):
            return Digest("sha256", etag)
        if _SHA1.fullmatch(etag):
            return Digest(GIT_SHA1, etag)
    return None


def stated_size(responses: Iterable[Mapping[str, str]]) -> int | None:
    """The size of a large file that a redirect of the Hub states."""
    sizes = (content_length(fields.get("x-linked-size")) for fields in responses)
    return next((size for size in sizes if size is not None), None)


def _listed(item: Any, name: str, blob: str) -> ListedFile:
    """`name` and `blob`: the fields of the path and of Git's SHA-1. That of a large file is of its pointer."""
    path, size = json_field(item, name, str), json_field(item, "size", int)
    large, sha1 = json_field(item, "lfs", dict), json_field(item, blob, str)
    if path is None:
        raise ValueError(f"an entry has no {name}")
    if large is None:
        digest = Digest(GIT_SHA1, sha1) if sha1 else None
    else:
        sha256 = json_field(large, "sha256", str) or json_field(large, "oid", str)
        digest = Digest("sha256", sha256) if sha256 else None
        size = json_field(large, "size", int) if size is None else size
    if size is not None and size < 0:
        raise ValueError("the size of an entry is negative")
    return ListedFile(path, size, digest)


def _unquoted(etag: str) -> str:
    return etag.strip().removeprefix("W/").strip('"')
