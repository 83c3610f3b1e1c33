"""Buckets and references as they are read, and the URLs that they make."""

from __future__ import annotations

from typing import Any

import pytest

from modelferry.resource.object_stores import OCISource, S3Source
from modelferry.resource.parse import parse_artifact


def parsed(source: dict[str, Any]) -> object:
    document = {"apiVersion": "modelferry.dev/v1alpha1", "kind": "ModelArtifact", "metadata": {"name": "m"}}
    return parse_artifact({**document, "spec": {"source": source}}).spec.source


def test_every_field_of_a_bucket_is_read() -> None:
    given = {"bucket": "models", "prefix": "tts/", "region": "eu-west-1", "endpoint": "https://s3.example.com/",
             "style": "virtual", "include": ["*.bin"], "exclude": ["a*"], "serviceAccountName": "reader"}  # fmt: skip
    wanted = S3Source("models", "tts/", "eu-west-1", "https://s3.example.com", "virtual", ("*.bin",), ("a*",), "reader")
    assert parsed({"s3": given}) == wanted
    assert parsed({"s3": {"bucket": "models"}}) == S3Source("models")


@pytest.mark.parametrize(
    ("source", "base"),
    [
        (S3Source("models", region="eu-west-1"), "https://models.s3.eu-west-1.amazonaws.com"),
        (S3Source("my.models"), "https://s3.us-east-1.amazonaws.com/my.models"),
        (S3Source("models", style="path"), "https://s3.us-east-1.amazonaws.com/models"),
        (S3Source("models", endpoint="https://minio.example.com:9000"), "https://minio.example.com:9000/models"),
        (S3Source("models", endpoint="https://s3.example.com", style="virtual"), "https://models.s3.example.com"),
        (S3Source("models", endpoint="https://h.example/s3"), "https://h.example/s3/models"),
        (S3Source("models", endpoint="https://h.example/s3", style="virtual"), "https://models.h.example/s3"),
    ],
)
def test_where_a_bucket_stands_in_the_url(source: S3Source, base: str) -> None:
    assert source.base == base


@pytest.mark.parametrize(("prefix", "directory"), [("", ""), ("a/b", "a/b/"), ("a/b/", "a/b/")])
def test_a_prefix_is_a_directory(prefix: str, directory: str) -> None:
    assert S3Source("models", prefix).directory == directory


SHA = "sha256:" + "0" * 64


@pytest.mark.parametrize(
    ("reference", "expected"),
    [
        ("registry.example.com/m:v1", OCISource("registry.example.com", "m", "v1")),
        ("Registry.Example.com:5000/a/b__c/d-e:V_1.0", OCISource("registry.example.com:5000", "a/b__c/d-e", "V_1.0")),
        (f"localhost:5000/m@{SHA}", OCISource("localhost:5000", "m", "", SHA)),
        (f"127.0.0.1:5000/m:v1@{SHA}", OCISource("127.0.0.1:5000", "m", "v1", SHA)),
    ],
)
def test_references_are_read(reference: str, expected: OCISource) -> None:
    assert parsed({"oci": {"reference": reference}}) == expected
    assert OCISource.parse(str(expected)) == expected


def test_archives_are_refused_unless_they_are_to_be_kept() -> None:
    reference = "h.example/m:v1"
    assert parsed({"oci": {"reference": reference}}) == OCISource("h.example", "m", "v1", keep_archives=False)
    kept = parsed({"oci": {"reference": reference, "archives": "keep"}})
    assert kept == OCISource("h.example", "m", "v1", keep_archives=True)


def test_docker_hub_answers_under_another_name() -> None:
    assert OCISource.parse("docker.io/org/m:v1").base == "https://registry-1.docker.io/v2/org/m"


@pytest.mark.parametrize(
    "reference", ["h.example/M:v1", "h.example/m", "m:v1", "h.example/a//b:v1", "h.example/../b:v1"]
)
def test_what_is_no_reference_is_refused(reference: str) -> None:
    with pytest.raises(ValueError, match=r"must be HOST|names neither"):
        OCISource.parse(reference)
