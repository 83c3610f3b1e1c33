"""The source ``huggingFace``: a repository of a Hugging Face Hub or of a mirror of it, pinned to a commit.

Requests to the Hub: the commit (``GET /api/models/REPO/revision/REVISION``), its files
(``GET /api/models/REPO/tree/COMMIT?recursive=true``, page by page), and one byte of one file, since anyone may list a
gated repository. Large files have their SHA-256 there (Git LFS), small ones Git's own SHA-1 over the content. A proxy
of the Hub may have no tree, or one without digests: then the commit's ``siblings`` have them, or each file's response.
huggingface_hub 2.4.0 is the reference: its `hf_api.list_repo_tree`, `utils._http.hf_raise_for_status`.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping, Sequence
from typing import Any
from urllib.parse import quote, urlsplit

from modelferry.errors import Denied, InvalidSpec, NotFound, ServerMisbehaves, Stalled
from modelferry.manifest import FileEntry, Location, Manifest
from modelferry.resource.source import HuggingFaceSource
from modelferry.sources.bounded_gather import bounded_gather
from modelferry.sources.http_files import facts_of
from modelferry.sources.huggingface_listing import (
    ListedFile,
    sibling_files,
    stated_digest,
    stated_size,
    tree_files,
)
from modelferry.sources.repository import COMMIT, commit_or_none, hub_error, manifest_of, read_json, select_paths
from modelferry.sources.source_client import Head, SourceClient
from modelferry.values.spec_lines import ADD_TOKEN
from modelferry.values.urls import redact_url

_FIELD = "spec.source.huggingFace"
#: Bytes: a page of 1,000 files has 300 kB, a repository's card with 2,000 files as much again.
_MAX_RESPONSE = 16 * 1024 * 1024
#: Pages, of 1,000 entries at the Hub: 100,000 files, so that a list without an end ends here.
_MAX_PAGES = 100
_FIRST_BYTE = {"Range": "bytes=0-0"}
_NEXT = re.compile(r'<([^>]*)>\s*;\s*rel="next"')


async def resolve(source: HuggingFaceSource, client: SourceClient) -> Manifest:
    """The manifest of `source`. Raises what `modelferry.sources.resolve` lists, and InvalidSpec."""
    hub = Hub(source, client)
    commit = await hub.commit()
    listed = await hub.files(commit)
    paths = set(select_paths(source, _FIELD, commit, [file.path for file in listed]))
    wanted = [file for file in listed if file.path in paths]
    entries = [entry for file in wanted if (entry := hub.entry(commit, file)) is not None]
    if entries:
        # The largest: a repository's small files may be public.
        await hub.probe(commit, max(entries, key=lambda entry: entry.size).path)
    entries += await bounded_gather(hub.ask(commit, file) for file in wanted if not file.is_known)
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
        stated = read_json(head, body, self._source.repo, dict).get("sha")
        commit = commit_or_none(revision if stated is None else stated)
        if commit is None:
            why = f"it names no commit of {revision!r}; give the commit, 40 digits, as {_FIELD}.revision, or"
            raise hub_error(head, self._source.repo, why)
        if COMMIT.fullmatch(revision) and commit != revision:
            raise hub_error(head, self._source.repo, f"it has commit {commit} where {revision} was requested")
        return commit

    async def files(self, commit: str) -> list[ListedFile]:
        """All files of `commit`. What the endpoint does not list of one is None."""
        tree = await self._tree(commit)
        if tree is not None and all(file.is_known for file in tree):
            return tree
        siblings = await self._siblings(commit, needed=tree is None)
        known = {file.path: file for file in siblings if file.is_known}
        return siblings if tree is None else [known.get(file.path, file) for file in tree]

    async def _tree(self, commit: str) -> list[ListedFile] | None:
        """The files as the tree lists them; None where the endpoint has no tree, as some proxies of the Hub."""
        first = f"{self._api}/tree/{commit}"
        query, found, pages = "recursive=true&expand=false", list[ListedFile](), set[str]()
        while len(pages) < _MAX_PAGES:
            pages.add(query)
            try:
                head, body = await self._get(f"{first}?{query}")
                items = read_json(head, body, self._source.repo, list)
            except (NotFound, ServerMisbehaves) as error:
                if len(pages) > 1 or error.reason != type(error).__name__:
                    raise
                return None
            found += self._read(head, tree_files, items)
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

    async def _siblings(self, commit: str, *, needed: bool) -> list[ListedFile]:
        """The files as the description of the commit lists them; none where it does not, unless they are `needed`."""
        try:
            head, body = await self._get(f"{self._api}/revision/{commit}?blobs=true")
            items = read_json(head, body, self._source.repo, dict).get("siblings")
            if not isinstance(items, list):
                why = "the endpoint lists no files: it has no /tree, and no siblings here; list them one by one in"
                raise hub_error(head, self._source.repo, f"{why} spec.source.http.files, or")
            return self._read(head, sibling_files, items)
        except (NotFound, ServerMisbehaves):
            if needed:
                raise
            return []

    def entry(self, commit: str, file: ListedFile) -> FileEntry | None:
        """`file` as the manifest has it; None if the endpoint must be asked for it."""
        if file.size is None or file.digest is None:
            return None
        return FileEntry(file.path, file.size, file.digest, (self.location(commit, file.path),))

    async def ask(self, commit: str, file: ListedFile) -> FileEntry:
        """`file` with what the responses to a request for its first byte state. Raises ServerMisbehaves where they do
        not state its size."""
        responses: list[Mapping[str, str]] = []

        def explain(head: Head, body: bytes) -> Stalled | None:
            responses.append(head.headers)
            return self._explain(head, body)

        location = self.location(commit, file.path)
        head = await self._client.head(location.url, file.path, _FIRST_BYTE, explain=explain)
        responses.append(head.headers)
        digest = file.digest or stated_digest(commit, responses)
        sizes = (file.size, stated_size(responses), facts_of(head, file.path, pinned=digest is not None).size)
        size = next((size for size in sizes if size is not None), None)
        if size is None:
            raise hub_error(head, file.path, "the endpoint does not state the size of the file")
        return FileEntry(file.path, size, digest, (location,), version="" if digest else commit)

    async def probe(self, commit: str, path: str) -> None:
        """Request the first byte of a file: a client that may list it may still not be allowed to read it."""
        await self._client.head(self.location(commit, path).url, path, _FIRST_BYTE, explain=self._explain)

    def location(self, commit: str, path: str) -> Location:
        """Where the Hub has a file; it redirects to a signed URL that soon expires."""
        return Location(f"{self._files}/resolve/{commit}/{quote(path)}")

    async def _get(self, url: str) -> tuple[Head, bytes]:
        return await self._client.get(url, self._source.repo, limit=_MAX_RESPONSE, explain=self._explain)

    def _read(
        self, head: Head, read: Callable[[Sequence[Any]], list[ListedFile]], items: Sequence[Any]
    ) -> list[ListedFile]:
        try:
            return read(items)
        except ValueError as error:
            raise hub_error(head, self._source.repo, f"its list of files is unreadable: {error}") from error

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
                f" the account that has it: {ADD_TOKEN}"
            )
            return Denied(f"{at}: {cause}", reason="GatedRepo", file=source.repo)
        if code == "RevisionNotFound":
            cause = f"{repo} has no branch, tag or commit {source.revision!r}; correct {_FIELD}.revision"
            return NotFound(f"{at}: {cause}", reason="RevisionNotFound", file=source.repo)
        if code == "RepoNotFound" or (not code and head.status == 401):
            cause = (
                f"there is no {repo} on {redact_url(source.endpoint)}, or it is private; correct repo or repoType, or"
                f" give a token that may read it: {ADD_TOKEN}"
            )
            return NotFound(f"{at}: {cause}", reason="RepositoryNotFound", file=source.repo)
        if message.startswith("Access to this resource is disabled"):
            return Denied(f"{at}: the Hub has disabled {repo}; see its page", reason="RepositoryDisabled")
        return None
