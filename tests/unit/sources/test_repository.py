"""Which files of a repository are taken, and the manifest that they make."""

from __future__ import annotations

import pytest
from huggingface_hub.utils._paths import filter_repo_objects

from modelferry.errors import InvalidSpec, ServerMisbehaves
from modelferry.manifest import Digest, FileEntry, Location
from modelferry.resource.source import HuggingFaceSource
from modelferry.sources.file_patterns import matches
from modelferry.sources.repository import manifest_of, select_paths

COMMIT = "c" * 40
PATHS = [
    ".gitattributes",
    "README.md",
    "asset/gpt/model.safetensors",
    "asset/gpt.safetensors",
    "config/a.yaml",
    "config/deep/b.yaml",
    "configuration.json",
    "odd [1].bin",
]


@pytest.mark.parametrize(
    "pattern",
    [
        "*",
        "*.safetensors",
        "asset/*",
        "asset/*.safetensors",
        "config/",
        "config",
        "*.YAML",
        "?EADME.md",
        ".*",
        "odd [[]1]*",
    ],
)
def test_a_pattern_means_what_it_means_to_huggingface_hub(pattern: str) -> None:
    ours = [path for path in PATHS if matches(path, (pattern,))]
    assert ours == list(filter_repo_objects(PATHS, allow_patterns=[pattern]))
    assert [path for path in PATHS if path not in ours] == list(filter_repo_objects(PATHS, ignore_patterns=[pattern]))


@pytest.mark.parametrize(
    ("source", "paths", "words"),
    [
        (
            HuggingFaceSource("a/b"),
            [],
            "none of the 0 files of a/b at cccccccccccc is left; the repository has no file",
        ),
        (
            HuggingFaceSource("a/b", include=("x",)),
            PATHS,
            r"include \(x\) matches 0; the repository has \.git.*3 more\)",
        ),
        (HuggingFaceSource("a/b"), [f"{n}" for n in range(2001)], "has 2001 files, 2000 is the maximum; select some"),
        (HuggingFaceSource("a/b"), ["a\\b"], "holds a control character or a backslash; exclude it"),
        (HuggingFaceSource("a/b"), [".modelferry/x"], "keeps for itself; exclude it"),
    ],
)
def test_a_choice_that_cannot_be_is_told(source: HuggingFaceSource, paths: list[str], words: str) -> None:
    with pytest.raises(InvalidSpec, match=words):
        select_paths(source, "spec.source.huggingFace", COMMIT, paths)


def test_what_is_left_out_may_have_any_name() -> None:
    source = HuggingFaceSource("a/b", exclude=("*\\*",))
    assert select_paths(source, "spec.source.huggingFace", COMMIT, ["a\\b", "c"]) == ("c",)


def test_the_revision_is_the_commit_and_of_a_part_says_which() -> None:
    files = [FileEntry(path, 1, Digest("md5", "0" * 32), (Location("https://h/x"),)) for path in ("b", "a")]
    source = HuggingFaceSource("a/b")
    assert manifest_of(source, COMMIT, files, complete=True).revision == COMMIT
    parts = {manifest_of(source, COMMIT, [file], complete=False).revision for file in files}
    assert len(parts) == 2
    assert all(part.startswith(f"{COMMIT}-") and len(part) <= 63 for part in parts)
    assert len(manifest_of(source, None, files, complete=True).revision) == 12


def test_files_that_cannot_stand_beside_each_other_are_the_hubs_fault() -> None:
    files = [FileEntry(path, 1, None, (Location("https://h/x"),)) for path in ("a", "a/b")]
    with pytest.raises(ServerMisbehaves, match=r"\.co lists files that cannot exist together: 'a' is a file and"):
        manifest_of(HuggingFaceSource("a/b"), COMMIT, files, complete=True)
