"""A Hugging Face Hub on loopback, with a CDN on another port.

A test checks that huggingface_hub works with it. It has commits and refs, paged trees, Git LFS with redirects to signed
URLs that expire, small files behind a redirect within the Hub, private and gated repositories, tokens, and quotas.
"""

from __future__ import annotations

import hashlib
import hmac
import json
import ssl
import time
from collections import Counter
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import cached_property
from itertools import count
from urllib.parse import quote

from origin.web import Reply, WebRequest, WebServer

_KEY = b"the CDN's"


@dataclass(frozen=True)
class Repo:
    """A repository with one commit. Files of ``lfs_from`` bytes or more are stored in Git LFS.

    ``readers``: tokens with access to the files of a ``gated`` repository (which anyone may list), or to a ``private``
    one.
    """

    files: Mapping[str, bytes]
    refs: tuple[str, ...] = ("main",)
    lfs_from: int = 1024
    gated: bool = False
    private: bool = False
    readers: frozenset[str] = frozenset()

    @cached_property
    def oids(self) -> dict[str, str]:
        """The Git object IDs of the files."""
        return {path: git_sha1(body) for path, body in self.files.items()}

    @cached_property
    def sha256(self) -> dict[str, str]:
        """The SHA-256 of the files in Git LFS."""
        return {path: hashlib.sha256(body).hexdigest() for path, body in self.files.items() if self.is_large(path)}

    @cached_property
    def commit(self) -> str:
        """A commit ID derived from the content."""
        listing = "".join(f"{path} {oid}\n" for path, oid in sorted(self.oids.items()))
        return hashlib.sha1(listing.encode()).hexdigest()

    def is_large(self, path: str) -> bool:
        """Whether it is stored in Git LFS."""
        return len(self.files[path]) >= self.lfs_from

    def entries(self) -> list[dict[str, object]]:
        """The tree as the API lists it, with directories."""
        folders = {path.rsplit("/", depth)[0] for path in self.files for depth in range(1, path.count("/") + 1)}
        found: list[dict[str, object]] = [
            {"type": "directory", "path": path, "oid": "0" * 40, "size": 0} for path in folders
        ]
        for path, body in self.files.items():
            entry: dict[str, object] = {"type": "file", "path": path, "size": len(body), "oid": self.oids[path]}
            if self.is_large(path):
                entry["oid"] = git_sha1(b"a pointer to " + self.sha256[path].encode())
                entry["lfs"] = {"oid": self.sha256[path], "size": len(body), "pointerSize": 134}
            found.append(entry)
        return sorted(found, key=lambda entry: str(entry["path"]))


def git_sha1(body: bytes) -> str:
    """The Git object ID of a blob."""
    return hashlib.sha1(b"blob %d\0" % len(body) + body).hexdigest()


class CDN(WebServer):
    """Serves blobs at signed URLs that are valid for ``lifetime`` seconds and ``uses`` requests (None: any number)."""

    def __init__(self, *, tls: ssl.SSLContext | None = None, host: str = "127.0.0.1", lifetime: float = 60.0) -> None:
        super().__init__(tls=tls, host=host)
        self.blobs: dict[str, bytes] = {}
        self.lifetime = lifetime
        self.uses: int | None = None
        self._used: Counter[str] = Counter()
        self._issued = count(1)

    def signed(self, sha256: str, body: bytes) -> str:
        """A signed URL of the blob."""
        self.blobs[sha256] = body
        policy = f"{time.time() + self.lifetime:.3f}-{next(self._issued)}"
        return f"{self.base}/blobs/{sha256}?Policy={policy}&Signature={_signature(sha256, policy)}"

    def answer(self, request: WebRequest) -> Reply:
        """See WebServer."""
        found = request.match(r"/blobs/([0-9a-f]{64})")
        policy = request.query.get("Policy", "")
        if found is None or request.query.get("Signature") != _signature(found[0], policy):
            return Reply(403, content=b"<Error><Code>AccessDenied</Code></Error>")
        self._used[policy] += 1
        if time.time() > float(policy.partition("-")[0]) or self._used[policy] > (self.uses or self._used[policy]):
            return Reply(403, content=b"<Error><Code>AccessDenied</Code><Message>Request has expired</Message></Error>")
        return Reply(fields={"ETag": f'"{found[0]}"', "Accept-Ranges": "bytes"}, content=self.blobs[found[0]])


def _signature(sha256: str, policy: str) -> str:
    return hmac.new(_KEY, f"{sha256} {policy}".encode(), "sha256").hexdigest()


class Hub(WebServer):
    """Repositories by name (of a dataset with the prefix ``datasets/``). ``tokens``: the valid ones.

    ``page``: entries per page. ``linked``: the server's URL in the link to the next page, if it is another one.
    ``circular``: the last page links to the first. ``busy`` selects the requests that are answered with 429, by number
    (from 1) and request; ``busy_fields`` are the fields of these responses.

    ``leaves_out``: what it has not, as a proxy of the Hub: ``tree`` (400, as any path that it does not know), ``oids``
    (digests in the tree), ``blobs`` (sizes and digests in siblings), ``siblings``, ``sha`` (the commit), and ``stated``
    (the Hub's own fields in the responses for files).
    """

    def __init__(
        self,
        repos: Mapping[str, Repo],
        cdn: CDN,
        *,
        tls: ssl.SSLContext | None = None,
        host: str = "127.0.0.1",
        tokens: frozenset[str] = frozenset(),
        page: int = 1000,
        linked: str = "",
        circular: bool = False,
        leaves_out: frozenset[str] = frozenset(),
        busy: Callable[[int, WebRequest], bool] = lambda number, request: False,
        busy_fields: Mapping[str, str] | None = None,
    ) -> None:
        super().__init__(tls=tls, host=host)
        self._repos, self._cdn, self._tokens, self._page, self._linked = dict(repos), cdn, tokens, page, linked
        self._busy, self._count, self._circular = busy, 0, circular
        self._leaves_out = leaves_out
        #: Content to serve for small files, by path, instead of the repository's.
        self.replaced: dict[str, bytes] = {}
        self._busy_fields = busy_fields or {
            "RateLimit": '"api";r=0;t=1',
            "RateLimit-Policy": '"fixed window";"api";q=500;w=300',
        }

    def answer(self, request: WebRequest) -> Reply:
        """See WebServer."""
        self._count += 1
        if self._busy(self._count, request):
            return Reply(429, self._busy_fields, b"too many requests")
        if request.token and request.token not in self._tokens:
            return _error(401, "", "Invalid credentials in Authorization header")
        if found := request.match(r"/api/(models|datasets)/(.+?)/revision/([^/]+)"):
            return self._in_revision(request, found, lambda name, repo: self._info(request, name, repo))
        found = request.match(r"/api/(models|datasets)/(.+?)/tree/([^/]+)")
        if found and "tree" in self._leaves_out:
            return Reply(400, content=b"no route")
        if found:
            return self._in_revision(request, found, lambda _, repo: self._tree(request, repo))
        if found := request.match(r"/(datasets/)?((?:[^/]+/)?[^/]+)/resolve/([^/]+)/(.+)"):
            kind, name, revision, path = found
            named = ("datasets" if kind else "models", name, revision)
            return self._in_revision(request, named, lambda _, repo: self._file(request, repo, path))
        if found := request.match(r"/api/resolve-cache/([0-9a-f]{40})"):
            return self._small(found[0], request.query.get("path", ""))
        return Reply(404, content=b"no such page")

    def _in_revision(self, request: WebRequest, named: tuple[str, ...], then: Callable[[str, Repo], Reply]) -> Reply:
        """The response of `then` for a repository, if the client may access it and the revision exists."""
        kind, name, revision = named
        repo = self._repos.get(f"datasets/{name}" if kind == "datasets" else name)
        if repo is None or (repo.private and request.token not in repo.readers):
            if not request.token:
                return _error(401, "", "Invalid username or password.")
            return _error(404, "RepoNotFound", "Repository not found")
        if revision not in (repo.commit, *repo.refs):
            return _error(404, "RevisionNotFound", f"Invalid rev id: {revision}")
        return then(name, repo)

    def _tree(self, request: WebRequest, repo: Repo) -> Reply:
        entries, start = repo.entries(), int(request.query.get("cursor", "0"))
        if "oids" in self._leaves_out:
            entries = [{key: entry[key] for key in entry.keys() - {"oid", "lfs"}} for entry in entries]
        fields = {"Content-Type": "application/json"}
        next_page = start + self._page
        if next_page < len(entries) or self._circular:
            query = f"recursive=true&expand=false&cursor={next_page if next_page < len(entries) else 0}"
            fields["Link"] = f'<{self._linked or self.base}{request.path}?{query}>; rel="next"'
        return Reply(fields=fields, content=json.dumps(entries[start : start + self._page]).encode())

    def _file(self, request: WebRequest, repo: Repo, path: str) -> Reply:
        if repo.gated and request.token not in repo.readers:
            message = "Access to the model is restricted and you are not in the authorized list."
            return _error(403 if request.token else 401, "GatedRepo", message)
        if path not in repo.files:
            return _error(404, "EntryNotFound", "Entry not found")
        body, fields = repo.files[path], {"X-Repo-Commit": repo.commit}
        if "stated" in self._leaves_out:
            return Reply(fields={"ETag": f'"{hashlib.sha1(body).hexdigest()}"'}, content=body)
        if not repo.is_large(path):
            oid = repo.oids[path]
            location = f"/api/resolve-cache/{oid}?path={quote(path)}"
            return Reply(307, {**fields, "Location": location, "ETag": f'"{oid}"'})
        sha256 = repo.sha256[path]
        linked = {"X-Linked-Size": str(len(body)), "X-Linked-Etag": f'"{sha256}"', "Accept-Ranges": "bytes"}
        return Reply(302, {**fields, **linked, "Location": self._cdn.signed(sha256, body)})

    def _info(self, request: WebRequest, name: str, repo: Repo) -> Reply:
        siblings: list[dict[str, object]] = [{"rfilename": path} for path in sorted(repo.files)]
        if "blobs" in request.query and "blobs" not in self._leaves_out:
            for sibling in siblings:
                path = str(sibling["rfilename"])
                sibling |= {"size": len(repo.files[path]), "blobId": repo.oids[path]}
                if repo.is_large(path):
                    sibling["lfs"] = {"sha256": repo.sha256[path], "size": len(repo.files[path]), "pointerSize": 134}
        body = {"_id": "1", "id": name, "sha": repo.commit, "private": repo.private, "tags": [], "downloads": 0}
        body |= {"likes": 0, "gated": "auto" if repo.gated else False, "siblings": siblings}
        body = {key: value for key, value in body.items() if key not in self._leaves_out}
        return Reply(fields={"Content-Type": "application/json"}, content=json.dumps(body).encode())

    def _small(self, oid: str, path: str) -> Reply:
        for repo in self._repos.values():
            if repo.oids.get(path) == oid:
                fields = {"ETag": f'"{oid}"', "X-Repo-Commit": repo.commit}
                return Reply(fields=fields, content=self.replaced.get(path, repo.files[path]))
        return Reply(404)


def _error(status: int, code: str, message: str) -> Reply:
    fields = {"X-Error-Message": message} | ({"X-Error-Code": code} if code else {})
    return Reply(status, fields, json.dumps({"error": message}).encode())
