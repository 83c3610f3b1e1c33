"""The API server refuses invalid resources, with the remedy in the message, and accepts the examples and what
`modelferry pull --print` writes."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest
import yaml

from cluster import ClusterError
from e2e.consumers import EXAMPLES
from e2e.namespace_client import NamespaceClient
from invalid_documents import INVALID, valid
from modelferry.resource.source import MAX_FILES

#: One of each kind, with what a printed artifact may have.
PRINTED = [
    ["hf://2Noise/ChatTTS@main/asset/", "--bandwidth", "40Mbit", "--connections", "4"],
    ["hf://datasets/acme/voices", "--exclude", "*.wav", "--layout", "huggingface"],
    ["modelscope://AI-ModelScope/ChatTTS"],
    ["s3://models/chattts/*.safetensors", "--region", "eu-west-1"],
    ["gs://models/chattts"],
    ["oci://registry.example.com/models/chattts:v1"],
    ["https://models.example.com/a.bin", "https://models.example.com/b.bin", "--name", "both"],
    ["http://models.example.com/SHA256SUMS", "--allow-plain-http"],
]


@pytest.mark.parametrize("what", INVALID)
def test_the_api_server_refuses_an_invalid_document(quiet: NamespaceClient, what: str) -> None:
    document, words, _ = INVALID[what]
    with pytest.raises(ClusterError) as refused:
        quiet.apply(document)
    assert words in str(refused.value)


def test_the_kind_of_storage_cannot_be_changed(ns: NamespaceClient) -> None:
    ns.apply(valid())
    patch = '{"spec": {"storage": {"nodeLocal": null, "claim": {"name": "models"}}}}'
    with pytest.raises(ClusterError, match="the kind of storage cannot be changed"):
        ns.kubectl("patch", "ma", "chattts", "--type=merge", "-p", patch)


def test_kubectl_explain_describes_the_fields(quiet: NamespaceClient) -> None:
    text = quiet.kubectl("explain", "ma.spec.transfer.tls.allowPlainHTTP")
    assert "whose content anyone on the network path can read and modify" in " ".join(text.split())


def test_what_print_writes_is_accepted(quiet: NamespaceClient) -> None:
    command = Path(sys.executable).with_name("modelferry")
    credentials = {"HF_TOKEN": "planted", "AWS_ACCESS_KEY_ID": "planted", "AWS_SECRET_ACCESS_KEY": "planted"}
    printed = [
        subprocess.run(
            [command, "pull", *words, "--print"],
            env=os.environ | credentials,
            capture_output=True,
            text=True,
            check=True,
        ).stdout
        for words in PRINTED
    ]
    assert "planted" not in "".join(printed)
    said = quiet.kubectl("apply", "--dry-run=server", "-f", "-", input="---\n".join(printed))
    assert said.count("created (server dry run)") == len(PRINTED)


def test_the_examples_are_accepted(quiet: NamespaceClient) -> None:
    """KServe's own kind is not on this cluster."""
    found = [document for path in EXAMPLES.glob("*.yaml") for document in yaml.safe_load_all(path.read_text())]
    known = [document for document in found if document["kind"] != "InferenceService"]
    text = "\n---\n".join(map(json.dumps, known))
    said = quiet.kubectl("create", "--dry-run=server", "--validate=strict", "-f", "-", input=text)
    assert said.count("created (server dry run)") == len(known) > 8


def test_thousands_of_inline_files_are_applied_server_side(quiet: NamespaceClient) -> None:
    """A client-side apply keeps the object in an annotation, which may have 256 KiB (docs/modelartifact.md)."""
    document = valid()
    [file] = document["spec"]["source"]["http"]["files"]
    document["spec"]["source"]["http"]["files"] = [file | {"path": f"a/{n}.bin"} for n in range(MAX_FILES)]
    with pytest.raises(ClusterError, match=r"metadata\.annotations: Too long"):
        quiet.apply(document)
    words = ("apply", "--server-side", "--dry-run=server", "-f", "-")
    assert "serverside-applied" in quiet.kubectl(*words, input=json.dumps(document))
