"""A Hugging Face Hub on loopback, with a CDN on another port.

Real enough for huggingface_hub (a test holds it to that): commits and refs, paged trees, Git LFS with a redirect to
signed URLs that expire, small files by a redirect within the Hub, private and gated repositories, tokens, quotas.
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

from origin.web import Question, Reply, WebServer

_KEY = b"the CDN's"


@dataclass(frozen=True)
class Repo:
    """A repository of one commit. Files of ``lfs_from`` bytes or more are Git LFS's.

    ``gated``: listed for everybody, its files for ``readers`` (tokens) alone; ``private``: all of it for them alone.
    """

    files: Mapping[str, bytes]
    refs: tuple[str, ...] = ("main",)
    lfs_from: int = 1024
    gated: bool = False
    private: bool = False
    readers: frozenset[str] = frozenset()

    @cached_property
    def oids(self) -> dict[str, str]:
        """Git's names of the files."""
        return {path: git_sha1(body) for path, body in self.files.items()}

    @cached_property
    def sha256(self) -> dict[str, str]:
        """Git LFS's names of the large files."""
        return {path: hashlib.sha256(body).hexdigest() for path, body in self.files.items() if self.is_large(path)}

    @cached_property
    def commit(self) -> str:
        """By the content, as Git's is."""
        facts = "".join(f"{path} {oid}\n" for path, oid in sorted(self.oids.items()))
        return hashlib.sha1(facts.encode()).hexdigest()

    def is_large(self, path: str) -> bool:
        """Is it kept by Git LFS?"""
        return len(self.files[path]) >= self.lfs_from

    def entries(self) -> list[dict[str, object]]:
        """The tree as the API lists it, with its directories."""
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
    """Git's name of a blob."""
    return hashlib.sha1(b"blob %d\0" % len(body) + body).hexdigest()


class CDN(WebServer):
    """Serves blobs by signed URLs of ``life`` seconds, each for ``uses`` requests (None: any number)."""

    def __init__(self, *, tls: ssl.SSLContext | None = None, host: str = "127.0.0.1", life: float = 60.0) -> None:
        super().__init__(tls=tls, host=host)
        self.blobs: dict[str, bytes] = {}
        self.life = life
        self.uses: int | None = None
        self._used: Counter[str] = Counter()
        self._issued = count(1)

    def signed(self, sha256: str, body: bytes) -> str:
        """A URL of the blob that soon expires."""
        self.blobs[sha256] = body
        policy = f"{time.time() + self.life:.3f}-{next(self._issued)}"
        return f"{self.base}/blobs/{sha256}?Policy={policy}&Signature={_signature(sha256, policy)}"

    def answer(self, question: Question) -> Reply:
        """See WebServer."""
        found = question.matched(r"/blobs/([0-9a-f]{64})")
        policy = question.query.get("Policy", "")
        if found is None or question.query.get("Signature") != _signature(found[0], policy):
            return Reply(403, content=b"<Error><Code>AccessDenied</Code></Error>")
        self._used[policy] += 1
        if time.time() > float(policy.partition("-")[0]) or self._used[policy] > (self.uses or self._used[policy]):
            return Reply(403, content=b"<Error><Code>AccessDenied</Code><Message>Request has expired</Message></Error>")
        return Reply(fields={"ETag": f'"{found[0]}"', "Accept-Ranges": "bytes"}, content=self.blobs[found[0]])


def _signature(sha256: str, policy: str) -> str:
    return hmac.new(_KEY, f"{sha256} {policy}".encode(), "sha256").hexdigest()


class Hub(WebServer):
    """Repositories by name (a dataset's with ``datasets/`` before it). ``tokens``: those that the Hub knows.

    ``page``: entries a page. ``linked``: the address in the link to the next page, where it is not this server's own.
    ``circular``: the last page leads to the first.
    ``busy`` decides which requests are answered by 429, by number (from 1) and question; ``busy_fields`` come with it.
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
        busy: Callable[[int, Question], bool] = lambda number, question: False,
        busy_fields: Mapping[str, str] | None = None,
    ) -> None:
        super().__init__(tls=tls, host=host)
        self._repos, self._cdn, self._tokens, self._page, self._linked = dict(repos), cdn, tokens, page, linked
        self._busy, self._asked, self._circular = busy, 0, circular
        #: Bytes that are served of a small file by its path, instead of its own.
        self.replaced: dict[str, bytes] = {}
        self._busy_fields = busy_fields or {
            "RateLimit": '"api";r=0;t=1',
            "RateLimit-Policy": '"fixed window";"api";q=500;w=300',
        }

    def answer(self, question: Question) -> Reply:
        """See WebServer."""
        self._asked += 1
        if self._busy(self._asked, question):
            return Reply(429, self._busy_fields, b"too many requests")
        if question.token and question.token not in self._tokens:
            return _refused(401, "", "Invalid credentials in Authorization header")
        if found := question.matched(r"/api/(models|datasets)/(.+?)/revision/([^/]+)"):
            return self._known(question, found, _info)
        if found := question.matched(r"/api/(models|datasets)/(.+?)/tree/([^/]+)"):
            return self._known(question, found, lambda _, repo: self._tree(question, repo))
        if found := question.matched(r"/(datasets/)?((?:[^/]+/)?[^/]+)/resolve/([^/]+)/(.+)"):
            kind, name, revision, path = found
            named = ("datasets" if kind else "models", name, revision)
            return self._known(question, named, lambda _, repo: self._file(question, repo, path))
        if found := question.matched(r"/api/resolve-cache/([0-9a-f]{40})"):
            return self._small(found[0], question.query.get("path", ""))
        return Reply(404, content=b"no such page")

    def _known(self, question: Question, named: tuple[str, ...], then: Callable[[str, Repo], Reply]) -> Reply:
        """What `then` says of a repository at a revision, if there is one that this client may see."""
        kind, name, revision = named
        repo = self._repos.get(f"datasets/{name}" if kind == "datasets" else name)
        if repo is None or (repo.private and question.token not in repo.readers):
            if not question.token:
                return _refused(401, "", "Invalid username or password.")
            return _refused(404, "RepoNotFound", "Repository not found")
        if revision not in (repo.commit, *repo.refs):
            return _refused(404, "RevisionNotFound", f"Invalid rev id: {revision}")
        return then(name, repo)

    def _tree(self, question: Question, repo: Repo) -> Reply:
        entries, start = repo.entries(), int(question.query.get("cursor", "0"))
        fields = {"Content-Type": "application/json"}
        following = start + self._page
        if following < len(entries) or self._circular:
            query = f"recursive=true&expand=false&cursor={following if following < len(entries) else 0}"
            fields["Link"] = f'<{self._linked or self.base}{question.path}?{query}>; rel="next"'
        return Reply(fields=fields, content=json.dumps(entries[start : start + self._page]).encode())

    def _file(self, question: Question, repo: Repo, path: str) -> Reply:
        if repo.gated and question.token not in repo.readers:
            message = "Access to the model is restricted and you are not in the authorized list."
            return _refused(403 if question.token else 401, "GatedRepo", message)
        if path not in repo.files:
            return _refused(404, "EntryNotFound", "Entry not found")
        body, fields = repo.files[path], {"X-Repo-Commit": repo.commit}
        if not repo.is_large(path):
            oid = repo.oids[path]
            where = f"/api/resolve-cache/{oid}?path={quote(path)}"
            return Reply(307, {**fields, "Location": where, "ETag": f'"{oid}"'})
        sha256 = repo.sha256[path]
        linked = {"X-Linked-Size": str(len(body)), "X-Linked-Etag": f'"{sha256}"', "Accept-Ranges": "bytes"}
        return Reply(302, {**fields, **linked, "Location": self._cdn.signed(sha256, body)})

    def _small(self, oid: str, path: str) -> Reply:
        for repo in self._repos.values():
            if repo.oids.get(path) == oid:
                fields = {"ETag": f'"{oid}"', "X-Repo-Commit": repo.commit}
                return Reply(fields=fields, content=self.replaced.get(path, repo.files[path]))
        return Reply(404)


def _info(name: str, repo: Repo) -> Reply:
    siblings = [{"rfilename": path} for path in sorted(repo.files)]
    body = {"_id": "1", "id": name, "sha": repo.commit, "private": repo.private, "tags": [], "downloads": 0, "likes": 0}
    body |= {"gated": "auto" if repo.gated else False, "siblings": siblings}
    return Reply(fields={"Content-Type": "application/json"}, content=json.dumps(body).encode())


def _refused(status: int, code: str, message: str) -> Reply:
    fields = {"X-Error-Message": message} | ({"X-Error-Code": code} if code else {})
    return Reply(status, fields, json.dumps({"error": message}).encode())
