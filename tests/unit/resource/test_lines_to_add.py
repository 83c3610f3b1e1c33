"""The lines that messages tell users to add are ones that a ModelArtifact accepts."""

from __future__ import annotations

import re
from copy import deepcopy
from typing import Any

import yaml

from modelferry.manifest import FileEntry, Location
from modelferry.manifest.entries import content_addressed
from modelferry.resource.parse import parse_artifact
from modelferry.resource.source import HTTPSource
from modelferry.resource.undeclared_digests import remedy
from modelferry.values.spec_lines import ADD_TOKEN, ALLOW_PLAIN_HTTP
from unit.resource.invalid_fields import VALID


def lines(message: str) -> list[dict[str, Any]]:
    """What stands between backticks, read as YAML."""
    return [yaml.safe_load(text) for text in re.findall(r"`([^`]+)`", message)]


def test_a_token_and_plain_http_are_given_by_the_line_in_the_message() -> None:
    document = deepcopy(VALID)
    document["spec"] = {"source": document["spec"]["source"]}
    for line in lines(ADD_TOKEN) + lines(ALLOW_PLAIN_HTTP):
        document["spec"] |= yaml.safe_load(yaml.safe_dump(line).replace("NAME", "hub"))
    spec = parse_artifact(document).spec
    assert spec.auth is not None
    assert (spec.auth.name, spec.transfer.tls.allow_plain_http) == ("hub", True)


def test_the_digest_of_a_file_is_given_by_the_line_in_the_message() -> None:
    manifest = content_addressed((FileEntry("a.bin", 10, None, (Location("https://h/a.bin"),)),))
    (line,) = lines(remedy(HTTPSource(), manifest, {"a.bin": f"sha256:{'a' * 64}"}))
    document = deepcopy(VALID)
    document["spec"] = {"source": {"http": {"files": [{"path": "a.bin", "url": "https://h/a.bin"} | line]}}}
    source = parse_artifact(document).spec.source
    assert isinstance(source, HTTPSource)
    assert str(source.files[0].digest) == f"sha256:{'a' * 64}"
