"""What the hubs have in common: the selection of a repository's files, and the manifest at a commit. Pure."""

from __future__ import annotations

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
from modelferry.values.untrusted_json import parse_json
from modelferry.values.urls import redact_url

Repository = HuggingFaceSource | ModelScopeSource

#: A commit as Git names it.
COMMIT = re.compile(r"[0-9a-f]{40}")

#: Hex digits of the content id behind the commit in a revision, if patterns selected some of its files.
_SELECTION_LENGTH = 8
_CONTROL = re.compile(r"[\x00-\x1f\x7f-\x9f\u2028\u2029]")
#: Paths listed in an error, of a repository that may have thousands.
_LISTED = 5


def select_paths(source: Repository, field: str, commit: str, paths: Sequence[str]) -> tuple[str, ...]:
    """The paths that ``include`` matches and ``exclude`` does not. `field` is the source's field in the spec.

    Raises InvalidSpec where there are none, too many, or one that is not a valid path.
    """
    included = [path for path in paths if not source.include or matches(path, source.include)]
    kept = tuple(path for path in included if not matches(path, source.exclude))
    what = f"{source.repo} at {commit[:12]}"
    if not kept:
        said = f"{field}: none of the {len(paths)} files of {what} is left"
        if source.include:
            said += f"; include ({_some(source.include)}) matches {len(included)}"
        if source.exclude:
            said += f"; exclude ({_some(source.exclude)}) leaves out {len(included)} of them"
        raise InvalidSpec(f"{said}; the repository has {_some(paths) or 'no file'}; correct the patterns")
    if len(kept) > MAX_FILES:
        raise InvalidSpec(
            f"{field}: {what} has {len(kept)} files, {MAX_FILES} is the maximum; select some with include"
        )
    for path in kept:
        if error := path_error(path):
            raise InvalidSpec(f"{field}: a file of {what}, {path[:200]!r}, {error}; exclude it")
    return kept


def manifest_of(source: Repository, commit: str | None, files: Sequence[FileEntry], *, complete: bool) -> Manifest:
    """The manifest of `files` at `commit`; where a hub does not report one, the revision is made of the content.

    The revision is the commit; if the files are not the `complete` repository, also an id of the selection, because
    another selection is another model. Raises ServerMisbehaves where two files cannot exist beside each other.
    """
    ordered = tuple(sorted(files, key=lambda file: file.path))
    try:
        if commit is None:
            return content_addressed(ordered)
        return Manifest(commit if complete else f"{commit}-{content_id(ordered)[:_SELECTION_LENGTH]}", ordered)
    except ValueError as error:
        raise ServerMisbehaves(
            f"{source.repo}: {redact_url(source.endpoint)} lists files that cannot exist together: {error}"
        ) from error


def commit_or_none(value: object) -> str | None:
    """`value`, where it is a commit."""
    return value if isinstance(value, str) and COMMIT.fullmatch(value) else None


def read_json(head: Head, body: bytes, what: str, kind: type) -> Any:
    """The JSON of type `kind` in a response on behalf of `what`; raises ServerMisbehaves."""
    try:
        found = parse_json(body)
    except ValueError:
        found = None
    if head.status != 200 or not isinstance(found, kind):
        raise hub_error(head, what, "this is not a hub's response")
    return found


def hub_error(head: Head, what: str, why: str) -> ServerMisbehaves:
    """The error of a response that cannot be used."""
    return ServerMisbehaves(f"{what}: {redact_url(head.url)}: {head}: {why}; check the endpoint", file=what)


def _some(words: Sequence[str]) -> str:
    rest = f", … ({len(words) - _LISTED} more)" if len(words) > _LISTED else ""
    return ", ".join(_CONTROL.sub("?", word[:100]) for word in words[:_LISTED]) + rest
