"""The progress of a running download, as JSON."""

from __future__ import annotations

import pytest

from modelferry.messages import FileProgress, Progress


def test_a_progress_survives_its_encoding_in_one_line() -> None:
    progress = Progress(
        "fetching", "r", 10, 5, 6, 1.5, 3.25, 16, 2, 0, 2, 1, files=(FileProgress("ü", 10, 5, "fetching"),)
    )
    encoded = progress.encode()
    assert "\n" not in encoded
    assert Progress.decode(encoded) == progress
    assert Progress.decode(encoded.encode()) == progress


def test_fields_of_a_later_version_are_skipped() -> None:
    assert Progress.decode('{"phase": "fetching", "later": 1}') == Progress("fetching")


@pytest.mark.parametrize("text", ["", "[]", "{}", "null", '{"phase": "fetching", "files": [{"path": "a"}]}', "<html>"])
def test_an_invalid_progress_is_a_value_error(text: str) -> None:
    with pytest.raises(ValueError, match=r"."):
        Progress.decode(text)
