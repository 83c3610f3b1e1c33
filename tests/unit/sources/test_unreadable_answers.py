"""JSON of hubs and registries with fields that are missing or of another type: a clear error, never another one."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from copy import deepcopy
from typing import Any

import pytest

from modelferry.errors import ModelferryError
from modelferry.http.auth.registry_token import _token_in
from modelferry.resource.object_stores import OCISource
from modelferry.resource.source import ModelScopeSource
from modelferry.sources import modelscope, oci
from modelferry.sources.huggingface_listing import ListedFile, sibling_files, tree_files
from modelferry.sources.oci_manifest import OCI_MANIFEST, parse_manifest
from modelferry.sources.repository import read_json
from modelferry.sources.source_client import Head
from modelferry.values.untrusted_json import parse_json

HEAD = Head(200, {}, "https://hub.example/api")
SHA, GIT = "a" * 64, "b" * 40
TREE = [
    {"type": "directory", "path": "d", "oid": GIT, "size": 0},
    {"type": "file", "path": "d/a", "oid": GIT, "size": 5},
    {"type": "file", "path": "b", "oid": GIT, "size": 7, "lfs": {"oid": SHA, "size": 7}},
]
SIBLINGS = [
    {"rfilename": "a", "blobId": GIT, "size": 5},
    {"rfilename": "b", "blobId": GIT, "size": 7, "lfs": {"sha256": SHA, "size": 7}},
]
MODELSCOPE = [{"Type": "blob", "Path": "a", "Size": 5, "Sha256": SHA, "Revision": GIT}]
MANIFEST = {
    "mediaType": OCI_MANIFEST,
    "config": {"mediaType": "application/vnd.oci.empty.v1+json"},
    "layers": [
        {
            "mediaType": "application/octet-stream",
            "digest": f"sha256:{SHA}",
            "size": 5,
            "annotations": {"org.opencontainers.image.title": "a"},
        }
    ],
}
WRONG: tuple[Any, ...] = (None, [], {}, "", "x", -1, 1.5, True, [None], {"a": None}, 10**30)


def mutations(document: Any) -> Iterator[Any]:
    """`document` with each value replaced by a wrong one, or left out."""
    yield from WRONG
    keys = list(document) if isinstance(document, dict) else range(len(document)) if isinstance(document, list) else ()
    for key in keys:
        for value in mutations(document[key]):
            changed = deepcopy(document)
            changed[key] = value
            yield changed
        if isinstance(document, dict):
            yield {name: value for name, value in document.items() if name != key}


def listing(read: Callable[[Any], list[ListedFile]]) -> Callable[[Any], object]:
    """`read`, which gets lists only, and raises ValueError."""

    def reading(document: Any) -> object:
        try:
            return read(document) if isinstance(document, list) else None
        except ValueError:
            return None

    return reading


@pytest.mark.parametrize(
    ("document", "read"),
    [
        (TREE, listing(tree_files)),
        (SIBLINGS, listing(sibling_files)),
        (
            MODELSCOPE,
            lambda found: modelscope._read(HEAD, ModelScopeSource("a/b"), found if isinstance(found, list) else []),
        ),
        (MANIFEST, lambda found: parse_manifest(json.dumps(found).encode(), "", "artifact")),
        (
            {"errors": [{"code": "DENIED", "message": "no"}]},
            lambda found: oci.registry_error(
                OCISource("r.example", "a/b", "v1"), "v1", Head(404, {}, "https://r"), json.dumps(found).encode()
            ),
        ),
        ({"token": "abc"}, lambda found: _token_in(json.dumps(found).encode(), "https://r.example/token")),
        ({"sha": GIT}, lambda found: read_json(HEAD, json.dumps(found).encode(), "a/b", dict)),
    ],
    ids=["tree", "siblings", "modelscope", "manifest", "registry", "token", "json"],
)
def test_a_field_that_is_missing_or_of_another_type_is_a_clear_error(
    document: Any, read: Callable[[Any], object]
) -> None:
    """huggingface/huggingface_hub#1796: never a KeyError or another of Python's own."""
    read(document)
    messages = []
    for changed in mutations(document):
        try:
            read(changed)
        except ModelferryError as error:
            messages.append(error.message)
    assert not [message for message in messages if "Error" in message]


def test_json_that_is_nested_too_deeply_is_none() -> None:
    for text in (b"[" * 200_000, b'{"a":' * 200_000):
        with pytest.raises(ValueError, match=r"nested|Expecting"):
            parse_json(text)


def test_what_a_proxy_leaves_out_is_unknown() -> None:
    assert tree_files([{"type": "file", "path": "a"}]) == [ListedFile("a")]
    assert sibling_files([{"rfilename": "a"}]) == [ListedFile("a")]
    assert tree_files([{"type": "file", "path": "a", "oid": GIT, "lfs": {"size": 9}}]) == [ListedFile("a", 9)]
