"""The ConfigMaps that the operator creates."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest

from modelferry.controller.children import config_maps
from modelferry.manifest import codec
from modelferry.resource.parse import load_artifact
from unit.controller.objects import SETTINGS, document, observed

ARTIFACT = observed().artifact


def test_the_input_is_a_resource_that_the_command_line_reads(tmp_path: Path) -> None:
    body = config_maps.input_map(ARTIFACT, SETTINGS)
    file = tmp_path / "artifact.json"
    file.write_text(body["data"][config_maps.ARTIFACT_KEY])
    assert load_artifact(file).spec == ARTIFACT.spec


def test_the_number_of_connections_changes_the_input_but_only_the_source_changes_the_manifest() -> None:
    other = observed(document({"transfer": {"connections": 4}})).artifact
    assert config_maps.input_name(ARTIFACT) != config_maps.input_name(other)
    assert config_maps.manifest_name(ARTIFACT) == config_maps.manifest_name(other)
    files = [{"path": "a.bin", "url": "https://h/b.bin"}]
    third = observed(document({"source": {"http": {"files": files}}})).artifact
    assert config_maps.manifest_name(ARTIFACT) != config_maps.manifest_name(third)


def test_the_operators_proxy_changes_the_input() -> None:
    proxied = replace(SETTINGS, proxy={"https_proxy": "http://p:3128", "no_proxy": ".svc"}, proxy_secret="egress")
    assert config_maps.input_name(ARTIFACT) != config_maps.input_name(observed(settings=proxied).artifact)


def test_a_manifest_of_an_older_format_is_resolved_again(monkeypatch: pytest.MonkeyPatch) -> None:
    now = config_maps.manifest_name(ARTIFACT)
    monkeypatch.setattr(codec, "VERSION", codec.VERSION - 1)
    assert config_maps.manifest_name(ARTIFACT) != now
