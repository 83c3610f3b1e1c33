"""``spec.source.huggingFace`` and ``spec.source.modelScope``: a repository on a hub, at a revision."""

from __future__ import annotations

import re
from urllib.parse import urlsplit

from modelferry.resource.parse.source_fields.pattern_fields import parse_patterns
from modelferry.resource.source import REPO_TYPES, HuggingFaceSource, ModelScopeSource
from modelferry.resource.spec_fields import Fields
from modelferry.values.urls import url_error

_NAME = r"[A-Za-z0-9_][A-Za-z0-9._-]{0,95}"
_MAX_REVISION = 255
#: What the name of a branch, a tag or a commit must not contain (git-check-ref-format(1)).
_INVALID_REVISION = re.compile(r"[\x00-\x20\x7f~^:?*\[\\]|\.\.|//|^/|/$")


def parse_hugging_face(fields: Fields) -> HuggingFaceSource:
    """The source; errors are added to `fields`."""
    repo = fields.text("repo", required=True)
    if repo and not re.fullmatch(rf"({_NAME}/)?{_NAME}", repo):
        fields.add_error("repo", f"must be owner/name or name, as in the repository's address, not {repo!r}")
    revision = _revision(fields, HuggingFaceSource.revision)
    include, exclude = parse_patterns(fields, "include"), parse_patterns(fields, "exclude")
    repo_type = fields.text("repoType", REPO_TYPES[0])
    if repo_type not in REPO_TYPES:
        fields.add_error("repoType", f"must be {' or '.join(REPO_TYPES)}, not {repo_type!r}")
    endpoint = _endpoint(fields, HuggingFaceSource.endpoint)
    fields.reject_unknown()
    return HuggingFaceSource(repo, revision, include, exclude, repo_type, endpoint)


def parse_model_scope(fields: Fields) -> ModelScopeSource:
    """The source; errors are added to `fields`."""
    repo = fields.text("repo", required=True)
    if repo and not re.fullmatch(rf"{_NAME}/{_NAME}", repo):
        fields.add_error("repo", f"must be owner/name, as in the model's address, not {repo!r}")
    revision = _revision(fields, ModelScopeSource.revision)
    include, exclude = parse_patterns(fields, "include"), parse_patterns(fields, "exclude")
    endpoint = _endpoint(fields, ModelScopeSource.endpoint)
    fields.reject_unknown()
    return ModelScopeSource(repo, revision, include, exclude, endpoint)


def _revision(fields: Fields, default: str) -> str:
    revision = fields.text("revision", default)
    if not 0 < len(revision) <= _MAX_REVISION or _INVALID_REVISION.search(revision):
        fields.add_error("revision", f"must be the name of a branch or a tag, or a commit, not {revision[:60]!r}")
    return revision


def _endpoint(fields: Fields, default: str) -> str:
    endpoint = fields.text("endpoint", default)
    error = url_error(endpoint)
    if not error and (urlsplit(endpoint).query or urlsplit(endpoint).fragment):
        error = "has a query or a fragment; give the address of the hub alone"
    if error:
        fields.add_error("endpoint", error)
    return endpoint.rstrip("/")
