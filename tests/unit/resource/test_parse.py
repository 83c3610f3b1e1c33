"""A ModelArtifact document into typed data, and what is said about a wrong one."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from copy import deepcopy
from pathlib import Path
from typing import Any

import pytest
import yaml

import invalid_documents
from modelferry.errors import InvalidSpec
from modelferry.manifest import Digest
from modelferry.resource.parse import load_artifact, parse_artifact
from modelferry.resource.source import MAX_FILES, HTTPFile, HTTPSource, HuggingFaceSource, ModelScopeSource
from modelferry.resource.spec import Artifact, ExistingClaim, MinReady, NodeLocal, Nodes, Spec, Toleration
from modelferry.resource.transfer import DEFAULT_CONNECTIONS, TLS, Transfer
from unit.resource.invalid_fields import INVALID, SHA, VALID, InvalidField, document


def test_every_field_is_read() -> None:
    files = (
        HTTPFile("asset/gpt.safetensors", "https://h.example/gpt", Digest("sha256", SHA), 10),
        HTTPFile("config.yaml", "https://h.example/config.yaml"),
    )
    nodes = Nodes((("gpu", "true"),), (Toleration("gpu", "Exists", "", "NoSchedule"),))
    spec = Spec(HTTPSource(files), nodes, NodeLocal(), Transfer(8, TLS(False)))
    assert parse_artifact(VALID) == Artifact("chattts", "speech", spec)


def test_what_is_left_out_has_its_default() -> None:
    short: dict[str, Any] = {key: deepcopy(VALID[key]) for key in ("apiVersion", "kind")}
    short["metadata"] = {"name": "chattts"}
    short["spec"] = {"source": VALID["spec"]["source"], "nodes": None, "storage": {}}
    artifact = parse_artifact(short)
    assert artifact.namespace == ""
    assert artifact.spec.nodes == Nodes()
    assert artifact.spec.storage == NodeLocal()
    assert artifact.spec.transfer == Transfer(DEFAULT_CONNECTIONS, TLS(False))


@pytest.mark.parametrize(
    ("written", "read"), [(2, MinReady(2, percent=False)), ("60%", MinReady(60)), (None, MinReady())]
)
def test_the_ready_nodes_are_a_number_or_a_percentage(written: int | str | None, read: MinReady) -> None:
    document = deepcopy(VALID)
    document["spec"]["nodes"]["minReady"] = written
    assert parse_artifact(document).spec.nodes.min_ready == read


@pytest.mark.parametrize(
    ("min_ready", "selected", "copies"),
    [(MinReady(), 3, 3), (MinReady(60), 3, 2), (MinReady(1), 3, 1), (MinReady(50), 4, 2), (MinReady(5, False), 3, 5)],
)
def test_a_percentage_of_ready_nodes_is_rounded_up(min_ready: MinReady, selected: int, copies: int) -> None:
    assert min_ready.copies(selected) == copies


def test_a_claim_md5_and_plain_http_are_read() -> None:
    other = deepcopy(VALID)
    other["spec"]["storage"] = {"claim": {"name": "models"}}
    other["spec"]["transfer"] = {"tls": {"allowPlainHTTP": True}}
    other["spec"]["source"]["http"]["files"] = [{"path": "a", "url": "http://h.example/a", "md5": "a" * 32}]
    spec = parse_artifact(other).spec
    assert spec.storage == ExistingClaim("models")
    assert spec.transfer.tls.allow_plain_http
    assert spec.source == HTTPSource((HTTPFile("a", "http://h.example/a", Digest("md5", "a" * 32)),))


def test_what_the_api_server_adds_is_no_fault() -> None:
    seen = deepcopy(VALID)
    seen["metadata"] |= {"uid": "1", "generation": 3, "labels": {"a": "b"}, "managedFields": []}
    seen["status"] = {"conditions": []}
    assert parse_artifact(seen) == parse_artifact(VALID)


@pytest.mark.parametrize("wrong", INVALID, ids=str)
def test_an_invalid_field_is_named_with_its_cause(wrong: InvalidField) -> None:
    with pytest.raises(InvalidSpec) as caught:
        parse_artifact(document(wrong), where="model.yaml")
    errors = re.split(r"; (?=[a-zA-Z0-9.\[\]]+: )", caught.value.message.removeprefix("model.yaml: "))
    assert any(error.startswith(f"{wrong.field}: ") and wrong.cause in error for error in errors), errors
    assert [error for error in errors if not error.startswith(wrong.field)] == [], (
        "something right is called wrong, too"
    )


@pytest.mark.parametrize("what", invalid_documents.INVALID)
def test_what_the_api_server_refuses_is_refused_here_too(what: str) -> None:
    bad, _, said = invalid_documents.INVALID[what]
    with pytest.raises(InvalidSpec, match=re.escape(said)):
        parse_artifact(bad)


def _fields(schema: dict[str, Any], path: str) -> Iterator[str]:
    """The paths of what a user may write: values, lists, and mappings of the user's own keys."""
    inner = schema.get("properties", {})
    for name, one in inner.items():
        yield from _fields(one, f"{path}.{name}")
    items = schema.get("items", {})
    if not inner:
        yield path
    if "properties" in items:
        yield from _fields(items, f"{path}[]")


def test_every_field_of_the_crd_has_a_wrong_document() -> None:
    crd = yaml.safe_load((Path(__file__).parents[3] / "crds/modelartifacts.modelferry.dev.yaml").read_text())
    schema = crd["spec"]["versions"][0]["schema"]["openAPIV3Schema"]["properties"]["spec"]
    fields = set(_fields(schema, "spec"))
    assert len(fields) > 60
    reported: set[str] = set()
    for bad, _, _ in invalid_documents.INVALID.values():
        with pytest.raises(InvalidSpec) as caught:
            parse_artifact(bad)
        for path, what in re.findall(r"(?:^|; )(spec[A-Za-z0-9.\[\]]*): ([^;]*)", caught.value.message):
            if "is not a field" not in what:
                generic = re.sub(r"\[\d+\]", "[]", path)
                # An error of an item that has no fields, or of a key, is one of the list, or of the mapping.
                reported |= {generic, generic.removesuffix("[]"), generic.rpartition(".")[0]}
    assert sorted(fields - reported) == [], "give tests/invalid_documents.py a document in which this field is wrong"


def test_the_document_that_those_are_made_from_is_right() -> None:
    assert parse_artifact(invalid_documents.valid()).name == "chattts"


def test_all_faults_are_told_at_once() -> None:
    bad = deepcopy(VALID)
    bad["spec"]["source"]["http"]["files"][0] |= {"path": "/a", "size": -1}
    bad["spec"]["transfer"]["connections"] = 1000
    with pytest.raises(InvalidSpec) as caught:
        parse_artifact(bad)
    for field in ("files[0].path", "files[0].size", "transfer.connections"):
        assert field in caught.value.message


def test_a_password_in_a_url_is_not_repeated_in_the_message() -> None:
    bad = deepcopy(VALID)
    bad["spec"]["source"]["http"]["files"][0]["url"] = "https://user:hunter2@h.example/a?sig=hunter3"
    with pytest.raises(InvalidSpec) as caught:
        parse_artifact(bad)
    assert "hunter" not in caught.value.message


def test_more_files_than_allowed_are_refused_by_their_number() -> None:
    bad = deepcopy(VALID)
    bad["spec"]["source"]["http"]["files"] = [
        {"path": f"f{n}", "url": "https://h.example/f"} for n in range(MAX_FILES + 1)
    ]
    with pytest.raises(InvalidSpec, match=rf"files: must have at most {MAX_FILES} items, not {MAX_FILES + 1}"):
        parse_artifact(bad)


def test_a_file_may_hold_other_documents_beside_the_one_artifact(tmp_path: Path) -> None:
    path = tmp_path / "all.yaml"
    path.write_text(yaml.safe_dump_all([{"kind": "Deployment"}, VALID, None]))
    assert load_artifact(path) == parse_artifact(VALID)


def test_json_is_read_as_well(tmp_path: Path) -> None:
    path = tmp_path / "model.json"
    path.write_text(json.dumps(VALID))
    assert load_artifact(path) == parse_artifact(VALID)


@pytest.mark.parametrize(
    ("content", "said"),
    [
        (b"", "is empty; it must have exactly one document with kind: ModelArtifact"),
        (b"- a\n- b\n", r"has no ModelArtifact but 1 other, of kind \(none\)"),
        (b"kind: Pod\n---\nkind: Deployment\n", "has no ModelArtifact but 2 other, of kind Deployment, Pod"),
        (b"a:\n\t- secret\n", "line 2, column 1: .*; YAML is indented by spaces, never by tabs"),
        (yaml.safe_dump_all([VALID, VALID]).encode(), "has 2 documents"),
        (b"a: [", "not YAML"),
        (b"!!python/object/apply:os.system ['true']", "not YAML"),
        (b"\xff\xfe\x00", "not YAML"),
        (b"\x00", "not YAML"),
    ],
)
def test_a_file_that_is_not_one_artifact_is_refused(tmp_path: Path, content: bytes, said: str) -> None:
    path = tmp_path / "model.yaml"
    path.write_bytes(content)
    with pytest.raises(InvalidSpec, match=said) as caught:
        load_artifact(path)
    assert str(path) in caught.value.message
    assert "secret" not in caught.value.message


def test_a_file_that_is_not_there_is_said_to_be_missing(tmp_path: Path) -> None:
    with pytest.raises(InvalidSpec, match="No such file"):
        load_artifact(tmp_path / "absent.yaml")


def test_a_repository_on_a_hub_is_read_with_its_defaults() -> None:
    hub = deepcopy(VALID)
    hub["spec"]["source"] = {"huggingFace": {"repo": "bert", "endpoint": "https://hf-mirror.com/"}}
    assert parse_artifact(hub).spec.source == HuggingFaceSource("bert", "main", endpoint="https://hf-mirror.com")
    hub["spec"]["source"] = {"modelScope": {"repo": "a/b", "include": ["*.json"], "exclude": ["x/"], "revision": "v1"}}
    assert parse_artifact(hub).spec.source == ModelScopeSource("a/b", "v1", ("*.json",), ("x/",))


EXAMPLES = Path(__file__).parents[3] / "examples"


@pytest.mark.parametrize(
    "file",
    sorted(file for file in EXAMPLES.glob("*.yaml") if "kind: ModelArtifact" in file.read_text()),
    ids=lambda file: file.name,
)
def test_the_examples_are_right(file: Path) -> None:
    assert load_artifact(file).spec.source
