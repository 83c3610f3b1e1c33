"""Paths in a target directory."""

from __future__ import annotations

import pytest

from modelferry.storage import layout


@pytest.mark.parametrize(
    ("names", "foreign"),
    [(set(), None), ({"lost+found"}, None), ({".modelferry", "x"}, None), ({"lost+found", "x"}, "x")],
)
def test_a_directory_with_other_entries_but_no_state_is_foreign(names: set[str], foreign: str | None) -> None:
    assert layout.foreign_entry(names) == foreign


def test_paths_of_a_revision() -> None:
    assert layout.incoming_path("r1", "a/b") == ".modelferry/incoming/r1/a/b"
    assert layout.published_path("r1") == "revisions/r1"
    assert layout.marker_path("r1") == "revisions/r1/.modelferry-ready.json"
