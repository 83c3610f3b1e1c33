"""The README and the examples: what they show is valid and exists."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import pytest
import yaml

from modelferry.cli.pull import add_arguments
from modelferry.cli.references import is_reference
from modelferry.resource.parse import parse_artifact, read_artifact
from modelferry.resource.source import HuggingFaceSource
from readme import PROJECT, REPOSITORY, blocks, commands, example

EXAMPLES = sorted((PROJECT / "examples").glob("*.yaml"))
PAGES = [PROJECT / "README.md", *sorted((PROJECT / "docs").rglob("*.md"))]


def documents(path: Path) -> list[dict[str, Any]]:
    return list(yaml.safe_load_all(path.read_text()))


def test_the_first_example_has_eight_lines_and_is_complete() -> None:
    assert len([line for line in example().splitlines() if not line.startswith("#")]) == 8
    artifact = read_artifact(example(), "README.md")
    assert (artifact.name, artifact.spec.source) == ("chattts", HuggingFaceSource(REPOSITORY))


@pytest.mark.parametrize("page", PAGES, ids=lambda page: str(page.relative_to(PROJECT)))
def test_each_artifact_on_a_page_is_valid(page: Path) -> None:
    for block in blocks(page):
        if re.search(r"^kind: ModelArtifact", block, re.MULTILINE):
            read_artifact(block, page.name)


@pytest.mark.parametrize("path", EXAMPLES, ids=lambda path: str(path.name))
def test_each_artifact_of_the_examples_is_valid(path: Path) -> None:
    for document in documents(path):
        if document["kind"] == "ModelArtifact":
            parse_artifact(document, where=path.name)


@pytest.mark.parametrize("name", ["vllm.yaml", "kserve.yaml"])
def test_a_server_reads_the_claim_of_the_artifact_beside_it(name: str) -> None:
    artifact, server, *_ = documents(PROJECT / "examples" / name)
    claims = re.findall(r"'claimName': '([^']+)'|pvc://([^/']+)/", str(server))
    assert [one or other for one, other in claims] == [artifact["metadata"]["name"]]


def test_no_example_has_a_made_up_digest() -> None:
    """Those of ChatTTS are in its own list, ChatTTS/res/sha256_map.json."""
    known = {
        "1d0b044a8368c0513100a2eca98456b289e6be6a18b7a63be1bcaa315ea874d9",
        "07e5561491cce41f7f90cfdb94b2ff263ff5742c3d89339db99b17ad82cc3f44",
    }
    for path in [PROJECT / "README.md", *EXAMPLES]:
        assert set(re.findall(r"sha256: ([0-9a-f]{64})", path.read_text())) <= known


def test_the_commands_of_the_readme_exist() -> None:
    targets = set(re.findall(r"^([a-z-]+):", (PROJECT / "Makefile").read_text(), re.MULTILINE))
    named = set(re.findall(r"^    make ([a-z-]+)|`make ([a-z-]+)`", (PROJECT / "README.md").read_text(), re.MULTILINE))
    assert {one or other for one, other in named} <= targets
    assert len(commands(".venv/bin/modelferry")) >= 4, "tests/network/test_readme.py runs them"
    assert len(commands("kubectl")) >= 2, "tests/e2e/test_hub.py runs them"


def test_links_of_the_readme_lead_to_files() -> None:
    links = re.findall(r"\]\(([^)#:]+)(?:#[^)]*)?\)", (PROJECT / "README.md").read_text())
    assert [link for link in links if not (PROJECT / link).exists()] == []


def test_the_command_line_page_has_every_option_of_pull() -> None:
    import argparse

    parser = argparse.ArgumentParser(epilog="")
    add_arguments(parser)
    page = (PROJECT / "docs" / "cli.md").read_text()
    options = [option for action in parser._actions for option in action.option_strings if option.startswith("--")]
    assert [option for option in options if f"`{option}" not in page and option != "--help"] == []


def test_the_references_of_the_command_line_page_are_references() -> None:
    page = (PROJECT / "docs" / "cli.md").read_text()
    shown = re.findall(r"modelferry pull '?([a-z0-9]+://[^\s']+)", page)
    assert len(shown) >= 5
    assert all(map(is_reference, shown))
