"""The one grammar of file paths."""

from __future__ import annotations

import pytest

from modelferry.manifest.paths import MAX_PATH, MAX_SEGMENT, path_error


@pytest.mark.parametrize(
    "path",
    [
        "model.safetensors",
        "asset/gpt/config.json",
        "a b/ü.bin",
        "..hidden",
        "a/...",
        ".gitattributes",
        "x" * MAX_SEGMENT,
        "/".join(["d" * 127] * 4),
    ],
)
def test_an_ordinary_path_is_accepted(path: str) -> None:
    assert path_error(path) is None


@pytest.mark.parametrize(
    ("path", "error"),
    [
        ("", "is empty"),
        ("/etc/passwd", "is absolute"),
        ("../secret", "'..' segment"),
        ("a/../../b", "'..' segment"),
        ("a/./b", "'.' segment"),
        ("a//b", "empty segment"),
        ("a/", "empty segment"),
        ("a\\..\\b", "backslash"),
        ("a\nb", "control character"),
        ("a\x00b", "control character"),
        ("a\x7fb", "control character"),
        (".modelferry-ready.json", "keeps for itself"),
        ("deep/.modelferry/chunks.db", "keeps for itself"),
        ("\ud800.bin", "not valid Unicode"),
        ("x" * (MAX_SEGMENT + 1), f"longer than {MAX_SEGMENT} bytes"),
        ("ü" * (MAX_SEGMENT // 2 + 1), f"longer than {MAX_SEGMENT} bytes"),
        ("/".join(["d" * 102] * 5), f"longer than {MAX_PATH} bytes"),
    ],
)
def test_a_path_that_could_leave_or_disturb_the_directory_is_refused_with_its_error(path: str, error: str) -> None:
    assert error in str(path_error(path))
