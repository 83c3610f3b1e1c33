"""ModelScope on loopback, as its own client (modelscope_hub 0.5.1) expects it, and as its servers were seen to answer.

Files in `repo/files` with their SHA-256 and the commit that changed them; a list that is cut at 3,000 entries without a
word; ranges that are answered with 200 and a Content-Range (modelscope_hub#50); a token as bearer or as the cookie.
"""

from __future__ import annotations

import hashlib
import json
import ssl
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property

from origin.web import Question, Reply, WebServer

CUT_AT = 3000


@dataclass(frozen=True)
class Model:
    """A model of one commit. ``tells_commit``: whether the list has the revision's commit (some answers do not)."""

    files: Mapping[str, bytes]
    refs: tuple[str, ...] = ("master",)
    private: bool = False
    readers: frozenset[str] = frozenset()
    tells_commit: bool = True

    @cached_property
    def changed(self) -> dict[str, str]:
        """The commit that changed each file last."""
        return {path: hashlib.sha1(body).hexdigest() for path, body in self.files.items()}

    @cached_property
    def commit(self) -> str:
        """By the content."""
        return hashlib.sha1(repr(sorted(self.changed.items())).encode()).hexdigest()

    def entries(self) -> list[dict[str, object]]:
        """The tree, with its directories."""
        folders = {path.rsplit("/", depth)[0] for path in self.files for depth in range(1, path.count("/") + 1)}
        found: list[dict[str, object]] = [{"Path": path, "Type": "tree", "Size": 0, "Sha256": ""} for path in folders]
        for path, body in self.files.items():
            sha256 = hashlib.sha256(body).hexdigest()
            revision = self.changed[path]
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
    """Models by name."""

    def __init__(
        self, models: Mapping[str, Model], *, tls: ssl.SSLContext | None = None, host: str = "127.0.0.1"
    ) -> None:
        super().__init__(tls=tls, host=host)
        self._models = dict(models)

    def answer(self, question: Question) -> Reply:
        """See WebServer."""
        found = question.matched(r"/api/v1/models/([^/]+/[^/]+)(/repo/files|/repo|)")
        if found is None:
            return _said(404, "no such page")
        name, what = found
        model, token = self._models.get(name), question.token
        cookie = question.fields.get("cookie", "").removeprefix("m_session_id=")
        if model is None:
            return _said(404, "namespace / model not found")
        if model.private and not {token, cookie} & model.readers:
            return _said(403, "no permission")
        if what == "":
            return _said(200, "success", {"Name": name})
        if question.query.get("Revision") not in {model.commit, *model.refs, *model.changed.values()}:
            return _said(404, "revision not found")
        return _listed(model) if what == "/repo/files" else _file(model, question.query.get("FilePath", ""))


def _listed(model: Model) -> Reply:
    committer = {"Id": model.commit if model.tells_commit else "", "ShortId": model.commit[:8]}
    return _said(200, "success", {"Files": model.entries()[:CUT_AT], "LatestCommitter": committer})


def _file(model: Model, path: str) -> Reply:
    if path not in model.files:
        return _said(404, "file not found")
    return Reply(fields={"Accept-Ranges": "bytes"}, content=model.files[path], says_200=True)


def _said(status: int, message: str, data: object = None) -> Reply:
    body = {"Code": status, "Message": message, "Success": status == 200, "Data": data}
    return Reply(status, {"Content-Type": "application/json"}, json.dumps(body).encode())
