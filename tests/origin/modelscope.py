"""ModelScope on loopback, as its client (modelscope_hub 0.5.1) expects it and as its servers were observed to answer.

`repo/files` lists the files with their SHA-256 and the commit that changed them, truncated to 3,000 entries without
notice. Range requests are answered with 200 and a Content-Range (modelscope_hub#50). A token is a bearer token or a
cookie.
"""

from __future__ import annotations

import hashlib
import json
import ssl
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property

from origin.web import Reply, WebRequest, WebServer

MAX_ENTRIES = 3000


@dataclass(frozen=True)
class Model:
    """A model with one commit. ``lists_commit``: whether the file list contains the commit (some servers omit it)."""

    files: Mapping[str, bytes]
    refs: tuple[str, ...] = ("master",)
    private: bool = False
    readers: frozenset[str] = frozenset()
    lists_commit: bool = True

    @cached_property
    def last_commits(self) -> dict[str, str]:
        """The last commit of each file."""
        return {path: hashlib.sha1(body).hexdigest() for path, body in self.files.items()}

    @cached_property
    def commit(self) -> str:
        """A commit ID derived from the content."""
        return hashlib.sha1(repr(sorted(self.last_commits.items())).encode()).hexdigest()

    def entries(self) -> list[dict[str, object]]:
        """The tree, with directories."""
        folders = {path.rsplit("/", depth)[0] for path in self.files for depth in range(1, path.count("/") + 1)}
        found: list[dict[str, object]] = [{"Path": path, "Type": "tree", "Size": 0, "Sha256": ""} for path in folders]
        for path, body in self.files.items():
            sha256 = hashlib.sha256(body).hexdigest()
            revision = self.last_commits[path]
            name = path.rpartition("/")[2]
            entry = {
                "Path": path,
                "Name": name,
                "Type": "blob",
                "Size": len(body),
                "Sha256": sha256,
                "Revision": revision,
            }
            found.append(entry)
        return sorted(found, key=lambda entry: str(entry["Path"]))


class ModelScope(WebServer):
    """Serves models by name."""

    def __init__(
        self, models: Mapping[str, Model], *, tls: ssl.SSLContext | None = None, host: str = "127.0.0.1"
    ) -> None:
        super().__init__(tls=tls, host=host)
        self._models = dict(models)

    def answer(self, request: WebRequest) -> Reply:
        """See WebServer."""
        matched = request.match(r"/api/v1/models/([^/]+/[^/]+)(/repo/files|/repo|)")
        if matched is None:
            return _response(404, "no such page")
        name, what = matched
        model, token = self._models.get(name), request.token
        cookie = request.fields.get("cookie", "").removeprefix("m_session_id=")
        if model is None:
            return _response(404, "namespace / model not found")
        if model.private and not {token, cookie} & model.readers:
            return _response(403, "no permission")
        if what == "":
            return _response(200, "success", {"Name": name})
        if request.query.get("Revision") not in {model.commit, *model.refs, *model.last_commits.values()}:
            return _response(404, "revision not found")
        return _files(model) if what == "/repo/files" else _file(model, request.query.get("FilePath", ""))


def _files(model: Model) -> Reply:
    committer = {"Id": model.commit if model.lists_commit else "", "ShortId": model.commit[:8]}
    return _response(200, "success", {"Files": model.entries()[:MAX_ENTRIES], "LatestCommitter": committer})


def _file(model: Model, path: str) -> Reply:
    if path not in model.files:
        return _response(404, "file not found")
    return Reply(fields={"Accept-Ranges": "bytes"}, content=model.files[path], status_200=True)


def _response(status: int, message: str, data: object = None) -> Reply:
    body = {"Code": status, "Message": message, "Success": status == 200, "Data": data}
    return Reply(status, {"Content-Type": "application/json"}, json.dumps(body).encode())
