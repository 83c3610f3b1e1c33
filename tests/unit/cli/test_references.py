"""References on the command line: the documents that they stand for, and what is said about wrong ones."""

from __future__ import annotations

from typing import Any

import pytest

from modelferry.cli.references import EXAMPLES, Options, artifact_name, document_of, is_reference, shown
from modelferry.errors import InvalidSpec
from modelferry.resource.parse import parse_artifact

HUB = {"repo": "2Noise/ChatTTS"}
DIGEST = "a" * 64


def source_of(*references: str, environment: dict[str, str] | None = None, **options: Any) -> dict[str, Any]:
    """``spec.source`` of what `references` stand for, which is a valid artifact."""
    document = document_of(references, Options(**options), environment or {})
    parse_artifact(document)
    found: dict[str, Any] = document["spec"]["source"]
    return found


@pytest.mark.parametrize(
    ("reference", "source"),
    [
        ("hf://2Noise/ChatTTS", {"huggingFace": HUB}),
        ("HF://2Noise/ChatTTS/", {"huggingFace": HUB}),
        ("hf://gpt2", {"huggingFace": {"repo": "gpt2"}}),
        ("hf://gpt2@main/onnx/*", {"huggingFace": {"repo": "gpt2", "revision": "main", "include": ["onnx/*"]}}),
        ("hf://2Noise/ChatTTS@v1.0", {"huggingFace": HUB | {"revision": "v1.0"}}),
        ("hf://2Noise/ChatTTS@refs/pr/3", {"huggingFace": HUB | {"revision": "refs/pr/3"}}),
        ("hf://2Noise/ChatTTS@a%2Fb/x/", {"huggingFace": HUB | {"revision": "a/b", "include": ["x/"]}}),
        ("hf://2Noise/ChatTTS/asset/*.pt", {"huggingFace": HUB | {"include": ["asset/*.pt"]}}),
        # It may be a file or a directory.
        ("hf://2Noise/ChatTTS@main/asset", {"huggingFace": HUB | {"revision": "main", "include": ["asset", "asset/"]}}),
        ("hf://datasets/acme/voices", {"huggingFace": {"repo": "acme/voices", "repoType": "dataset"}}),
        ("modelscope://a/b@v2/*.json", {"modelScope": {"repo": "a/b", "revision": "v2", "include": ["*.json"]}}),
        ("s3://models", {"s3": {"bucket": "models"}}),
        ("s3://models/tts/v1/", {"s3": {"bucket": "models", "prefix": "tts/v1"}}),
        ("s3://models/tts/*.pt", {"s3": {"bucket": "models", "prefix": "tts", "include": ["*.pt"]}}),
        ("s3://models/*/a", {"s3": {"bucket": "models", "include": ["*/a"]}}),
        ("gs://models/t", {"s3": {"bucket": "models", "prefix": "t", "endpoint": "https://storage.googleapis.com"}}),
        ("oci://h.example:5000/a/tts:v1", {"oci": {"reference": "h.example:5000/a/tts:v1"}}),
        (f"oci://h.example/tts@sha256:{DIGEST}", {"oci": {"reference": f"h.example/tts@sha256:{DIGEST}"}}),
        ("https://h/x/a%20b.pt?sig=1", {"http": {"files": [{"path": "a b.pt", "url": "https://h/x/a%20b.pt?sig=1"}]}}),
        ("https://h/tts/SHA256SUMS", {"http": {"manifestURL": "https://h/tts/SHA256SUMS"}}),
        ("https://h/tts/model.md5sums.txt", {"http": {"manifestURL": "https://h/tts/model.md5sums.txt"}}),
        (
            "https://huggingface.co/2Noise/ChatTTS/resolve/main/a.pt",
            {"http": {"files": [{"path": "a.pt", "url": "https://huggingface.co/2Noise/ChatTTS/resolve/main/a.pt"}]}},
        ),
    ],
)
def test_a_reference_stands_for_a_source(reference: str, source: dict[str, Any]) -> None:
    assert is_reference(reference)
    assert source_of(reference) == source


@pytest.mark.parametrize("word", ["model.yaml", "/srv/model.yaml", "-", "2Noise/ChatTTS", "C:model.yaml", "hf:a/b"])
def test_other_words_are_files(word: str) -> None:
    assert not is_reference(word)


def test_the_options_become_fields() -> None:
    found = source_of("hf://2Noise/ChatTTS", include=("*.pt",), exclude=("x/",), endpoint="https://hf-mirror.com")
    assert found == {"huggingFace": HUB | {"include": ["*.pt"], "exclude": ["x/"], "endpoint": "https://hf-mirror.com"}}
    found = source_of("s3://models", region="eu-west-1", endpoint="https://minio.example.com:9000")
    assert found == {"s3": {"bucket": "models", "region": "eu-west-1", "endpoint": "https://minio.example.com:9000"}}
    document = document_of(["http://h/a"], Options(name="mine", allow_plain_http=True), {})
    artifact = parse_artifact(document)
    assert (artifact.name, artifact.spec.transfer.tls.allow_plain_http) == ("mine", True)


def test_a_layout_is_for_hubs() -> None:
    document = document_of(["hf://2Noise/ChatTTS"], Options(layout="both"), {})
    assert document["spec"] == {"source": {"huggingFace": HUB}, "layout": "both"}
    parse_artifact(document)
    for reference in ("s3://models/tts", "https://h/a"):
        with pytest.raises(InvalidSpec, match="--layout is not an option of"):
            document_of([reference], Options(layout="both"), {})


def test_several_urls_are_files_of_one_artifact_each_with_its_digest() -> None:
    urls = ["https://h/a.pt", "https://cdn/b.pt"]
    found = source_of(*urls, sha256=(DIGEST.upper(), f"sha256:{'b' * 64}"))
    assert found["http"]["files"] == [
        {"path": "a.pt", "url": urls[0], "sha256": DIGEST},
        {"path": "b.pt", "url": urls[1], "sha256": "b" * 64},
    ]


def test_the_environment_has_what_the_sources_own_tools_read_there_and_an_option_goes_first() -> None:
    hub = {"HF_ENDPOINT": "https://hf-mirror.com"}
    assert source_of("hf://a/b", environment=hub)["huggingFace"]["endpoint"] == "https://hf-mirror.com"
    assert source_of("hf://a/b", environment=hub, endpoint="https://x")["huggingFace"]["endpoint"] == "https://x"
    aws = {"AWS_DEFAULT_REGION": "eu-west-1", "AWS_ENDPOINT_URL": "https://a", "AWS_ENDPOINT_URL_S3": "https://b"}
    assert source_of("s3://bucket", environment=aws)["s3"] == {
        "bucket": "bucket",
        "region": "eu-west-1",
        "endpoint": "https://b",
    }
    assert source_of("s3://bucket", environment=aws | {"AWS_REGION": "eu-west-3"})["s3"]["region"] == "eu-west-3"
    assert source_of("gs://bucket", environment=aws)["s3"]["endpoint"] == "https://storage.googleapis.com"


@pytest.mark.parametrize(
    ("reference", "name"),
    [
        ("hf://Qwen/Qwen2.5-0.5B-Instruct", "qwen2-5-0-5b-instruct"),
        ("hf://a/" + "B" * 90, "b" * 63),
        ("s3://models/tts/v1/", "v1"),
        ("gs://models", "models"),
        ("oci://h:5000/a/Tts@sha256:" + DIGEST, "tts"),
        ("https://h/x/model.tar.gz?a", "model-tar"),
        ("https://h/x/%E2%82%AC", "model"),
        ("https://h/ChatTTS/SHA256SUMS", "chattts"),
    ],
)
def test_the_artifact_is_named_after_the_last_part(reference: str, name: str) -> None:
    assert document_of([reference], Options(), {})["metadata"]["name"] == name


def test_a_name_is_a_label() -> None:
    assert artifact_name("_.-") == "model"
    assert artifact_name("x" * 62 + "-yy") == "x" * 62


@pytest.mark.parametrize(
    ("references", "options", "said"),
    [
        (["ftp://h/a"], {}, "ftp:// is not supported; give one such as hf://2Noise/ChatTTS, "),
        (["az://container/a"], {}, "az:// is not supported: give the blobs' URLs (https://ACCOUNT.blob.core.windows"),
        (["hf://"], {}, "must be hf://ORG/NAME[@REVISION][/PATH], such as hf://2Noise/ChatTTS"),
        (["hf://me:secret@a/b"], {}, "must be hf://ORG/NAME"),
        (["hf://spaces/a/b"], {}, "hf://spaces/… is not supported; give a model"),
        (["s3:///key"], {}, "must be s3://BUCKET/PREFIX"),
        (["s3://id:secret@bucket/key"], {}, "must be s3://BUCKET/PREFIX"),
        (["https://me:secret@h/a"], {}, "https://h/a: carries a user name or password"),
        (["https://h/dir/?secret"], {}, "https://h/dir/ names no file; give the URL of one, such as https://"),
        (["https://h/x/a", "https://i/a"], {}, "two URLs have the file name 'a'"),
        (["hf://a/b", "hf://a/c"], {}, "2 references; give one"),
        (["https://h/a", "model.yaml"], {}, "model.yaml: this is not a reference; give one such as hf://"),
        (["https://h/a"], {"sha256": (DIGEST, DIGEST)}, "--sha256: 2 digests for 1 URLs; give one for each"),
        (["https://h/a"], {"sha256": ("abc",)}, "--sha256: must be 64 hexadecimal digits, not 3 characters 'abc'"),
        (["https://h/SHA256SUMS"], {"sha256": (DIGEST,)}, "--sha256 is not an option of a checksum list"),
        (["https://h/a"], {"include": ("*",)}, "--include is not an option of https:// references; leave it out"),
        (["hf://a/b"], {"region": "x"}, "--region is not an option of hf:// references"),
        (["hf://a/b/c"], {"include": ("*",)}, "give the path in the reference, or --include, not both"),
        (["https://huggingface.co/2Noise/ChatTTS"], {}, "is a web page; give hf://2Noise/ChatTTS"),
        (["https://hf.co/datasets/a/b/tree/main/x"], {}, "is a web page; give hf://datasets/a/b@main/x"),
        (["https://www.modelscope.cn/models/a/b/summary"], {}, "is a web page; give modelscope://a/b"),
    ],
)
def test_a_wrong_reference_is_refused_with_an_example(
    references: list[str], options: dict[str, Any], said: str
) -> None:
    with pytest.raises(InvalidSpec) as caught:
        document_of(references, Options(**options), {})
    assert said in caught.value.message
    assert "secret" not in caught.value.message


def test_messages_show_no_query() -> None:
    assert shown(["https://me:pw@h/a?sig=1", "hf://A/b"]) == "https://h/a hf://A/b"


def test_the_examples_are_references() -> None:
    for example in EXAMPLES.values():
        source_of(example.replace("BUCKET", "bucket"))
