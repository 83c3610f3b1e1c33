"""The source ``huggingFace``: a repository of a Hugging Face Hub or of a mirror of it, pinned to a commit.

Requests to the Hub: the commit (``GET /api/models/REPO/revision/REVISION``), its files
(``GET /api/models/REPO/tree/COMMIT?recursive=true``, page by page), and one byte of one file, since anyone may list a
gated repository. Large files have their SHA-256 there (Git LFS), small ones Git's own SHA-1 over the content.
huggingface_hub 2.4.0 is the reference: its `hf_api.list_repo_tree`, `utils._http.hf_raise_for_status`.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any
from urllib.parse import quote, urlsplit

from modelferry.errors import Denied, InvalidSpec, NotFound, Stalled
from modelferry.manifest import Digest, FileEntry, Location, Manifest
from modelferry.manifest.entries import GIT_SHA1
from modelferry.resource.source import HuggingFaceSource
from modelferry.sources.repository import (
    COMMIT,
    TOKEN_LINE,
    commit_or_none,
    hub_error,
    manifest_of,
    read_json,
    select_paths,
)
from modelferry.sources.source_client import Head, SourceClient
from modelferry.values.urls import redact_url

_FIELD = "spec.source.huggingFace"
#: Bytes: a page of 1,000 files has 300 kB, a repository's card with 2,000 files as much again.
_MAX_RESPONSE = 16 * 1024 * 1024
#: Pages, of 1,000 entries at the Hub: 100,000 files, so that a list without an end ends here.
_MAX_PAGES = 100
_NEXT = re.compile(r'<([^>]*)>\s*;\s*rel="next"')


@dataclass(frozen=True, slots=True)
class ListedFile:
    """A file of the tree."""

    path: str
    size: int
    digest: Digest


async def resolve(source: HuggingFaceSource, client: SourceClient) -> Manifest:
    """The manifest of `source`. Raises what `modelferry.sources.resolve` lists, and InvalidSpec."""
    hub = Hub(source, client)
    commit = await hub.commit()
    listed = await hub.tree(commit)
    paths = set(select_paths(source, _FIELD, commit, [file.path for file in listed]))
    wanted = [file for file in listed if file.path in paths]
    # The largest: a repository's small files may be public.
    await hub.probe(commit, max(wanted, key=lambda file: file.size))
    entries = [FileEntry(file.path, file.size, file.digest, (hub.location(commit, file.path),)) for file in wanted]
    return manifest_of(source, commit, entries, complete=len(wanted) == len(listed))


class Hub:
    """The API of one Hub for one repository."""

    def __init__(self, source: HuggingFaceSource, client: SourceClient) -> None:
        self._source, self._client = source, client
        self._api = f"{source.endpoint}/api/{source.repo_type}s/{source.repo}"
        self._files = source.endpoint + ("/datasets" if source.repo_type == "dataset" else "") + f"/{source.repo}"

    async def commit(self) -> str:
        """The commit that the revision names now."""
        revision = self._source.revision
        head, body = await self._get(f"{self._api}/revision/{quote(revision, safe='')}")
        commit = commit_or_none(read_json(head, body, self._source.repo, dict).get("sha"))
        if commit is None:
            raise hub_error(head, self._source.repo, "it names no commit")
        if COMMIT.fullmatch(revision) and commit != revision:
            raise hub_error(head, self._source.repo, f"it has commit {commit} where {revision} was requested")
        return commit

    async def tree(self, commit: str) -> list[ListedFile]:
        """All files of `commit`."""
        first = f"{self._api}/tree/{commit}"
        query, found, pages = "recursive=true&expand=false", list[ListedFile](), set[str]()
        while len(pages) < _MAX_PAGES:
            pages.add(query)
            head, body = await self._get(f"{first}?{query}")
            found += self._page(head, read_json(head, body, self._source.repo, list))
            following = _NEXT.search(head.headers.get("link", ""))
            if following is None:
                return found
            # The query alone: a mirror may return the Hub's own address, which is not the configured one.
            query = urlsplit(following[1]).query
            if query in pages:
                raise hub_error(
                    head, self._source.repo, f"page {len(pages)} of its list of files leads back to another"
                )
        raise InvalidSpec(
            f"{_FIELD}.repo: {self._source.repo} at {commit[:12]} has more than {len(found)} files (its list goes on"
            f" after {_MAX_PAGES} pages, the most that are read); use a repository with fewer, or list the files"
            " one by one in spec.source.http.files"
        )

    async def probe(self, commit: str, file: ListedFile) -> None:
        """Request the first byte of `file`: a client that may list it may still not be allowed to read it."""
        url = self.location(commit, file.path).url
        await self._client.head(url, file.path, {"Range": "bytes=0-0"}, explain=self._explain)

    def location(self, commit: str, path: str) -> Location:
        """Where the Hub has a file; it redirects to a signed URL that soon expires."""
        return Location(f"{self._files}/resolve/{commit}/{quote(path)}")

    async def _get(self, url: str) -> tuple[Head, bytes]:
        return await self._client.get(url, self._source.repo, limit=_MAX_RESPONSE, explain=self._explain)

    def _page(self, head: Head, items: Sequence[Any]) -> list[ListedFile]:
        try:
            return [_listed(item) for item in items if item["type"] == "file"]
        except (KeyError, TypeError, ValueError, AttributeError) as error:
            why = f"an entry of the list of files is unreadable ({type(error).__name__})"
            raise hub_error(head, self._source.repo, why) from error

    def _explain(self, head: Head, body: bytes) -> Stalled | None:
        """The error that X-Error-Code means: the Hub answers 401 to many things."""
        source = self._source
        if not head.url.startswith(f"{source.endpoint}/"):
            return None
        code = head.headers.get("x-error-code", "")
        message = head.headers.get("x-error-message", "")
        at, repo = f"{_FIELD}: {redact_url(head.url)}: {head}", f"{source.repo_type} {source.repo}"
        if message.startswith("Invalid credentials"):
            cause = "the Hub does not accept the token; give a valid one in the Secret of spec.auth (key token)"
            return Denied(f"{at}: {cause}", reason="TokenRefused", file=source.repo)
        if code == "GatedRepo":
            cause = (
                f"{repo} is gated, and this client has no access; ask for access at {self._files}, and give a token of"
                f" the account that has it by {TOKEN_LINE}"
            )
            return Denied(f"{at}: {cause}", reason="GatedRepo", file=source.repo)
        if code == "RevisionNotFound":
            cause = f"{repo} has no branch, tag or commit {source.revision!r}; correct {_FIELD}.revision"
            return NotFound(f"{at}: {cause}", reason="RevisionNotFound", file=source.repo)
        if code == "RepoNotFound" or (not code and head.status == 401):
            cause = (
                f"there is no {repo} on {redact_url(source.endpoint)}, or it is private; correct repo or repoType, or"
                f" give a token that may read it by {TOKEN_LINE}"
            )
            return NotFound(f"{at}: {cause}", reason="RepositoryNotFound", file=source.repo)
        if message.startswith("Access to this resource is disabled"):
            return Denied(f"{at}: the Hub has disabled {repo}; see its page", reason="RepositoryDisabled")
        return None


def _listed(item: Any) -> ListedFile:
    path, size, large = item["path"], item["size"], item.get("lfs")
    if not isinstance(path, str) or not isinstance(size, int) or size < 0:
        raise TypeError
    return ListedFile(path, size, Digest("sha256", large["oid"]) if large else Digest(GIT_SHA1, item["oid"]))
