"""What the hubs have in common: a repository's files by patterns, and the manifest at a commit. Pure."""

from __future__ import annotations

import json
import re
from collections.abc import Sequence
from typing import Any

from modelferry.errors import InvalidSpec, ServerMisbehaves
from modelferry.manifest import FileEntry, Manifest
from modelferry.manifest.entries import content_addressed, content_id
from modelferry.manifest.paths import path_error
from modelferry.resource.source import MAX_FILES, HuggingFaceSource, ModelScopeSource
from modelferry.sources.file_patterns import matches
from modelferry.sources.source_client import Head
from modelferry.values.urls import redact_url

Repository = HuggingFaceSource | ModelScopeSource

#: A commit as Git names it.
COMMIT = re.compile(r"[0-9a-f]{40}")

#: Hex digits of the content id behind the commit in a revision, where patterns chose among its files.
_CHOICE_LENGTH = 8
#: Paths shown in an error, of a repository that may have thousands.
_SHOWN = 5


def chosen(source: Repository, where: str, commit: str, paths: Sequence[str]) -> tuple[str, ...]:
    """The paths that ``include`` takes and ``exclude`` leaves. `where` is the source's field in the spec.

    Raises InvalidSpec where that is nothing, too much, or a path that cannot stand on a disk.
    """
    included = [path for path in paths if not source.include or matches(path, source.include)]
    kept = tuple(path for path in included if not matches(path, source.exclude))
    what = f"{source.repo} at {commit[:12]}"
    if not kept:
        said = f"{where}: none of the {len(paths)} files of {what} is left"
        if source.include:
            said += f"; include ({_some(source.include)}) takes {len(included)}"
        if source.exclude:
            said += f"; exclude ({_some(source.exclude)}) leaves out {len(included)} of them"
        raise InvalidSpec(f"{said}; the repository has {_some(paths) or 'no file'}; correct the patterns")
    if len(kept) > MAX_FILES:
        raise InvalidSpec(f"{where}: {what} has {len(kept)} files, {MAX_FILES} is the most; choose some by include")
    for path in kept:
        if fault := path_error(path):
            raise InvalidSpec(f"{where}: a file of {what}, {path[:200]!r}, {fault}; leave it out by exclude")
    return kept


def manifest_of(source: Repository, commit: str | None, files: Sequence[FileEntry], *, whole: bool) -> Manifest:
    """The manifest of `files` at `commit`; where a hub does not tell it, the content makes the revision.

    The revision is the commit, and where the files are not the `whole` repository, a word for which they are: another
    choice of files is another model. Raises ServerMisbehaves where they are none that may stand beside each other.
    """
    ordered = tuple(sorted(files, key=lambda file: file.path))
    try:
        if commit is None:
            return content_addressed(ordered)
        return Manifest(commit if whole else f"{commit}-{content_id(ordered)[:_CHOICE_LENGTH]}", ordered)
    except ValueError as error:
        raise ServerMisbehaves(
            f"{source.repo}: {redact_url(source.endpoint)} lists files that cannot be: {error}"
        ) from error


def commit_or_none(value: object) -> str | None:
    """`value`, where it is a commit."""
    return value if isinstance(value, str) and COMMIT.fullmatch(value) else None


def read_json(head: Head, body: bytes, what: str, kind: type) -> Any:
    """The JSON of type `kind` in an answer on behalf of `what`; raises ServerMisbehaves."""
    try:
        found = json.loads(body)
    except ValueError:
        found = None
    if head.status != 200 or not isinstance(found, kind):
        raise misbehaves(head, what, "this is not what a hub answers")
    return found


def misbehaves(head: Head, what: str, why: str) -> ServerMisbehaves:
    """The error of an answer that is none to work with."""
    return ServerMisbehaves(f"{what}: {redact_url(head.url)}: {head}: {why}; check the endpoint", file=what)


def _some(words: Sequence[str]) -> str:
    rest = f", … ({len(words) - _SHOWN} more)" if len(words) > _SHOWN else ""
    return ", ".join(word[:100] for word in words[:_SHOWN]) + rest
