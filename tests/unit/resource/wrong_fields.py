"""A right ModelArtifact with every field, and all the ways to get one field wrong.

`tests/invalid_documents.py` holds those that the API server is tried with as well.
"""

from __future__ import annotations

from copy import deepcopy
from dataclasses import dataclass
from typing import Any

Document = dict[str, Any]

SHA = "0123456789abcdef" * 4

RIGHT: Document = {
    "apiVersion": "modelferry.dev/v1alpha1",
    "kind": "ModelArtifact",
    "metadata": {"name": "chattts", "namespace": "speech"},
    "spec": {
        "source": {
            "http": {
                "files": [
                    {"path": "asset/gpt.safetensors", "url": "https://h.example/gpt", "sha256": SHA, "size": 10},
                    {"path": "config.yaml", "url": "https://h.example/config.yaml"},
                ]
            }
        },
        "nodes": {
            "selector": {"gpu": "true"},
            "tolerations": [{"key": "gpu", "operator": "Exists", "effect": "NoSchedule"}],
        },
        "storage": {"nodeLocal": {}},
        "transfer": {"connections": 8, "tls": {"allowPlainHTTP": False}},
    },
}


@dataclass(frozen=True)
class Wrong:
    """`at` is set to `value` (`MISSING` removes it); the message must say `cause` of `field`."""

    at: str
    value: Any
    field: str
    cause: str

    def __str__(self) -> str:
        return f"{self.at}={str(self.value)[:40]}"


MISSING = object()
FILE = "spec.source.http.files[0]"

WRONG = (
    Wrong("apiVersion", "modelferry.dev/v2", "apiVersion", "must be modelferry.dev/v1alpha1"),
    Wrong("kind", "Model", "kind", "must be ModelArtifact"),
    Wrong("extra", 1, "extra", "is not a field"),
    Wrong("metadata.name", MISSING, "metadata.name", "is required"),
    Wrong("metadata.name", "a" * 64, "metadata.name", "at most 63 characters"),
    Wrong("metadata.name", "a.b", "metadata.name", "a-z, 0-9 and '-'"),
    Wrong("metadata.name", "Chat", "metadata.name", "a-z, 0-9 and '-'"),
    Wrong("metadata.name", "-a", "metadata.name", "begin and end with"),
    Wrong("metadata.name", 7, "metadata.name", "must be a string, not a number"),
    Wrong("spec", MISSING, "spec.source", "exactly one source"),
    Wrong("spec", [], "spec", "must be a mapping, not a list"),
    Wrong("spec.surprise", {}, "spec.surprise", "is not a field"),
    Wrong("spec.source", {}, "spec.source", "exactly one source"),
    Wrong("spec.source.ftp", {}, "spec.source.ftp", "is not a field"),
    Wrong("spec.source.http.files", [], "spec.source.http.files", "at least one file"),
    Wrong("spec.source.http.files", "a", "spec.source.http.files", "must be a list, not a string"),
    Wrong("spec.source.http.mirror", "x", "spec.source.http.mirror", "is not a field"),
    Wrong(FILE, "https://h.example/a", FILE, "must be a mapping, not a string"),
    Wrong(f"{FILE}.path", MISSING, f"{FILE}.path", "is required"),
    Wrong(f"{FILE}.path", "../a", f"{FILE}.path", "'..' segment"),
    Wrong(f"{FILE}.path", "a/../b", f"{FILE}.path", "'..' segment"),
    Wrong(f"{FILE}.path", "/a", f"{FILE}.path", "is absolute"),
    Wrong(f"{FILE}.path", "a//b", f"{FILE}.path", "empty segment"),
    Wrong(f"{FILE}.path", ".modelferry/a", f"{FILE}.path", "keeps for itself"),
    Wrong(f"{FILE}.path", "config.yaml", "spec.source.http.files[1].path", "is listed twice"),
    Wrong(f"{FILE}.url", MISSING, f"{FILE}.url", "is required"),
    Wrong(f"{FILE}.url", "s3://bucket/a", f"{FILE}.url", "does not begin with https://"),
    Wrong(f"{FILE}.url", "https://u:secret@h.example/a", f"{FILE}.url", "user name or password"),
    Wrong(f"{FILE}.sha256", SHA[:-1], f"{FILE}.sha256", "64 lower-case hexadecimal digits, not 63 characters"),
    Wrong(f"{FILE}.sha256", SHA.upper(), f"{FILE}.sha256", "64 lower-case hexadecimal digits"),
    Wrong(f"{FILE}.md5", "a" * 32, f"{FILE}.md5", "sha256 or md5, not both"),
    Wrong(f"{FILE}.size", -1, f"{FILE}.size", "must be 0 to"),
    Wrong(f"{FILE}.size", True, f"{FILE}.size", "a whole number, not true/false"),
    Wrong(f"{FILE}.size", "10", f"{FILE}.size", "a whole number, not a string"),
    Wrong(f"{FILE}.sha1", "a" * 40, f"{FILE}.sha1", "is not a field"),
    Wrong("spec.nodes.selector.gpu", True, "spec.nodes.selector.gpu", "must be a string, not true/false"),
    Wrong("spec.nodes.tolerations", {}, "spec.nodes.tolerations", "must be a list, not a mapping"),
    Wrong("spec.nodes.tolerations[0].operator", "Is", "spec.nodes.tolerations[0].operator", "Equal or Exists"),
    Wrong("spec.nodes.names", ["a"], "spec.nodes.names", "is not a field"),
    Wrong("spec.storage.claim", {"name": "models"}, "spec.storage", "nodeLocal or claim, not both"),
    Wrong("spec.storage", {"claim": {}}, "spec.storage.claim.name", "is required"),
    Wrong("spec.storage.nodeLocal.path", "/etc", "spec.storage.nodeLocal.path", "is not a field"),
    Wrong("spec.transfer.connections", 0, "spec.transfer.connections", "must be 1 to 128, not 0"),
    Wrong("spec.transfer.connections", 129, "spec.transfer.connections", "must be 1 to 128, not 129"),
    Wrong("spec.transfer.connections", "auto", "spec.transfer.connections", "a whole number, not a string"),
    Wrong("spec.transfer.tls.allowPlainHTTP", "yes", "spec.transfer.tls.allowPlainHTTP", "true or false"),
    Wrong("spec.transfer.tls.insecure", True, "spec.transfer.tls.insecure", "is not a field"),
)


def document(wrong: Wrong) -> Document:
    """`RIGHT` with the one change of `wrong`."""
    result = deepcopy(RIGHT)
    *parents, last = wrong.at.replace("[", ".[").split(".")
    inner: Any = result
    for step in parents:
        inner = inner[_key(step)]
    if wrong.value is MISSING:
        del inner[_key(last)]
    else:
        inner[_key(last)] = wrong.value
    return result


def _key(step: str) -> str | int:
    return int(step[1:-1]) if step.startswith("[") else step
