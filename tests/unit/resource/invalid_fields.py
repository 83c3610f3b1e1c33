"""A valid ModelArtifact with every field, and invalid values of each field.

`tests/invalid_documents.py` has those that the API server is tested with too.
"""

from __future__ import annotations

from copy import deepcopy
from dataclasses import dataclass
from typing import Any

Document = dict[str, Any]

SHA = "0123456789abcdef" * 4

VALID: Document = {
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
class InvalidField:
    """Sets `at` to `value` (`MISSING` removes it); the error message must contain `cause` and `field`."""

    at: str
    value: Any
    field: str
    cause: str

    def __str__(self) -> str:
        return f"{self.at}={str(self.value)[:40]}"


MISSING = object()
FILE = "spec.source.http.files[0]"

INVALID = (
    InvalidField("apiVersion", "modelferry.dev/v2", "apiVersion", "must be modelferry.dev/v1alpha1"),
    InvalidField("kind", "Model", "kind", "must be ModelArtifact"),
    InvalidField("extra", 1, "extra", "is not a field"),
    InvalidField("metadata.name", MISSING, "metadata.name", "is required"),
    InvalidField("metadata.name", "a" * 64, "metadata.name", "at most 63 characters"),
    InvalidField("metadata.name", "a.b", "metadata.name", "a-z, 0-9 and '-'"),
    InvalidField("metadata.name", "Chat", "metadata.name", "a-z, 0-9 and '-'"),
    InvalidField("metadata.name", "-a", "metadata.name", "begin and end with"),
    InvalidField("metadata.name", 7, "metadata.name", "must be a string, not a number"),
    InvalidField("spec", MISSING, "spec.source", "exactly one source"),
    InvalidField("spec", [], "spec", "must be a mapping, not a list"),
    InvalidField("spec.surprise", {}, "spec.surprise", "is not a field"),
    InvalidField("spec.source", {}, "spec.source", "exactly one source"),
    InvalidField("spec.source.ftp", {}, "spec.source.ftp", "is not a field"),
    InvalidField("spec.source.http.files", [], "spec.source.http.files", "at least one file"),
    InvalidField("spec.source.http.files", "a", "spec.source.http.files", "must be a list, not a string"),
    InvalidField("spec.source.http.mirror", "x", "spec.source.http.mirror", "is not a field"),
    InvalidField(FILE, "https://h.example/a", FILE, "must be a mapping, not a string"),
    InvalidField(f"{FILE}.path", MISSING, f"{FILE}.path", "is required"),
    InvalidField(f"{FILE}.path", "../a", f"{FILE}.path", "'..' segment"),
    InvalidField(f"{FILE}.path", "a/../b", f"{FILE}.path", "'..' segment"),
    InvalidField(f"{FILE}.path", "/a", f"{FILE}.path", "is absolute"),
    InvalidField(f"{FILE}.path", "a//b", f"{FILE}.path", "empty segment"),
    InvalidField(f"{FILE}.path", ".modelferry/a", f"{FILE}.path", "keeps for itself"),
    InvalidField(f"{FILE}.path", "config.yaml", "spec.source.http.files[1].path", "is listed twice"),
    InvalidField(f"{FILE}.url", MISSING, f"{FILE}.url", "is required"),
    InvalidField(f"{FILE}.url", "s3://bucket/a", f"{FILE}.url", "does not begin with https://"),
    InvalidField(f"{FILE}.url", "https://u:secret@h.example/a", f"{FILE}.url", "user name or password"),
    InvalidField(f"{FILE}.sha256", SHA[:-1], f"{FILE}.sha256", "64 lower-case hexadecimal digits, not 63 characters"),
    InvalidField(f"{FILE}.sha256", SHA.upper(), f"{FILE}.sha256", "64 lower-case hexadecimal digits"),
    InvalidField(f"{FILE}.md5", "a" * 32, f"{FILE}.md5", "sha256 or md5, not both"),
    InvalidField(f"{FILE}.size", -1, f"{FILE}.size", "must be 0 to"),
    InvalidField(f"{FILE}.size", True, f"{FILE}.size", "a whole number, not true/false"),
    InvalidField(f"{FILE}.size", "10", f"{FILE}.size", "a whole number, not a string"),
    InvalidField(f"{FILE}.sha1", "a" * 40, f"{FILE}.sha1", "is not a field"),
    InvalidField("spec.nodes.selector.gpu", True, "spec.nodes.selector.gpu", "must be a string, not true/false"),
    InvalidField("spec.nodes.tolerations", {}, "spec.nodes.tolerations", "must be a list, not a mapping"),
    InvalidField("spec.nodes.tolerations[0].operator", "Is", "spec.nodes.tolerations[0].operator", "Equal or Exists"),
    InvalidField("spec.nodes.names", ["a"], "spec.nodes.names", "is not a field"),
    InvalidField("spec.storage.claim", {"name": "models"}, "spec.storage", "nodeLocal or claim, not both"),
    InvalidField("spec.storage", {"claim": {}}, "spec.storage.claim.name", "is required"),
    InvalidField("spec.storage.nodeLocal.path", "/etc", "spec.storage.nodeLocal.path", "is not a field"),
    InvalidField("spec.transfer.connections", 0, "spec.transfer.connections", "must be 1 to 128, not 0"),
    InvalidField("spec.transfer.connections", 129, "spec.transfer.connections", "must be 1 to 128, not 129"),
    InvalidField("spec.transfer.connections", "auto", "spec.transfer.connections", "a whole number, not a string"),
    InvalidField("spec.transfer.tls.allowPlainHTTP", "yes", "spec.transfer.tls.allowPlainHTTP", "true or false"),
    InvalidField("spec.transfer.tls.insecure", True, "spec.transfer.tls.insecure", "is not a field"),
)


def document(invalid: InvalidField) -> Document:
    """`VALID` with the one change of `invalid`."""
    result = deepcopy(VALID)
    *parents, last = invalid.at.replace("[", ".[").split(".")
    inner: Any = result
    for step in parents:
        inner = inner[_key(step)]
    if invalid.value is MISSING:
        del inner[_key(last)]
    else:
        inner[_key(last)] = invalid.value
    return result


def _key(step: str) -> str | int:
    return int(step[1:-1]) if step.startswith("[") else step
