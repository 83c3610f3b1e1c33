"""The source ``modelScope``: a model of ModelScope, pinned to a commit if its API reports one.

One request returns its files (``GET /api/v1/models/REPO/repo/files``), which have their SHA-256 there, the commit that
changed them last, and mostly the revision's own commit. The reference is modelscope_hub 0.5.1, its
`_legacy_api.list_files` and `get_download_url`.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any
from urllib.parse import quote, urlencode

from modelferry.errors import Denied, InvalidSpec, NotFound, Stalled
from modelferry.manifest import Digest, FileEntry, Location, Manifest
from modelferry.resource.source import ModelScopeSource
from modelferry.sources.repository import commit_or_none, hub_error, manifest_of, read_json, select_paths
from modelferry.sources.source_client import Head, SourceClient
from modelferry.values.spec_lines import ADD_TOKEN
from modelferry.values.untrusted_json import json_field
from modelferry.values.urls import redact_url

_FIELD = "spec.source.modelScope"
_MAX_RESPONSE = 16 * 1024 * 1024
#: Entries, directories included, after which ModelScope truncates its list silently (modelscope_hub's
#: REPO_FILES_TRUNCATION_LIMIT).
_CUT_AT = 3000


@dataclass(frozen=True, slots=True)
class ListedFile:
    """A file of the list. ``commit``: the one that changed it last, if that is reported."""

    path: str
    size: int
    digest: Digest | None
    commit: str | None


async def resolve(source: ModelScopeSource, client: SourceClient) -> Manifest:
    """The manifest of `source`. Raises what `modelferry.sources.resolve` lists, and InvalidSpec."""
    commit, listed = await _files(source, client)
    paths = set(select_paths(source, _FIELD, commit or source.revision, [file.path for file in listed]))
    wanted = [file for file in listed if file.path in paths]
    entries = [_entry(source, commit, file) for file in wanted]
    return manifest_of(source, commit, entries, complete=len(wanted) == len(listed))


async def _files(source: ModelScopeSource, client: SourceClient) -> tuple[str | None, list[ListedFile]]:
    """The revision's commit (None where it is not reported), and its files."""
    api = f"{source.endpoint}/api/v1/models/{source.repo}"
    query = urlencode({"Revision": source.revision, "Recursive": "True"})
    try:
        url = f"{api}/repo/files?{query}"
        head, body = await client.get(url, source.repo, limit=_MAX_RESPONSE, explain=partial(_explain, source))
    except NotFound as error:
        raise await _missing(source, client, api, error) from error
    data = read_json(head, body, source.repo, dict).get("Data")
    items = data.get("Files") if isinstance(data, dict) else None
    if not isinstance(data, dict) or not isinstance(items, list):
        raise hub_error(head, source.repo, "it lists no files")
    if len(items) >= _CUT_AT:
        raise InvalidSpec(
            f"{_FIELD}: {source.repo} has {_CUT_AT} files and directories or more, and ModelScope lists no more than"
            " that; list the files one by one in spec.source.http"
        )
    committer = data.get("LatestCommitter")
    commit = commit_or_none(committer.get("Id")) if isinstance(committer, Mapping) else None
    return commit, _read(head, source, items)


def _read(head: Head, source: ModelScopeSource, items: Sequence[Any]) -> list[ListedFile]:
    try:
        return [_listed(item) for item in items if json_field(item, "Type", str) != "tree"]
    except ValueError as error:
        raise hub_error(head, source.repo, f"its list of files is unreadable: {error}") from error


def _listed(item: Any) -> ListedFile:
    path, size, sha256 = (json_field(item, *field) for field in (("Path", str), ("Size", int), ("Sha256", str)))
    if path is None or size is None or size < 0:
        raise ValueError("an entry has no path or no size")
    return ListedFile(path, size, Digest("sha256", sha256) if sha256 else None, commit_or_none(item.get("Revision")))


def _entry(source: ModelScopeSource, commit: str | None, file: ListedFile) -> FileEntry:
    version = "" if file.digest else commit or file.commit or ""
    return FileEntry(file.path, file.size, file.digest, (_location(source, commit, file),), version=version)


def _location(source: ModelScopeSource, commit: str | None, file: ListedFile) -> Location:
    """With the most stable name of the file's version that is known."""
    query = {"Revision": commit or file.commit or source.revision, "FilePath": file.path}
    return Location(f"{source.endpoint}/api/v1/models/{source.repo}/repo?{urlencode(query, quote_via=quote)}")


def _explain(source: ModelScopeSource, head: Head, body: bytes) -> Stalled | None:
    if head.status not in (401, 403):
        return None
    cause = f"is private, or asks for consent on its page; give a token that may read it: {ADD_TOKEN}"
    where = f"{_FIELD}: {redact_url(head.url)}: {head}"
    return Denied(f"{where}: {source.repo} {cause}", file=source.repo)


async def _missing(source: ModelScopeSource, client: SourceClient, api: str, error: NotFound) -> NotFound:
    """The error that names which is missing, the model or its revision: both are the same 404."""
    try:
        await client.head(api, source.repo)
    except NotFound:
        says = (
            f"there is no model {source.repo} on {redact_url(source.endpoint)}, or it is private; correct repo, or give"
        )
        return NotFound(
            f"{_FIELD}: {says} a token that may read it: {ADD_TOKEN}",
            reason="RepositoryNotFound",
            file=source.repo,
        )
    says = f"{source.repo} has no branch, tag or commit {source.revision!r}; correct {_FIELD}.revision"
    return NotFound(f"{_FIELD}: {says}", reason="RevisionNotFound", file=error.file)
