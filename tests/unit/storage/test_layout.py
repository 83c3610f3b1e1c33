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


@pytest.mark.parametrize(
    "name",
    ["lost+found", ".snapshot", "~snapshot", ".zfs", "System Volume Information", "$RECYCLE.BIN", ".Trash-1000",
     ".Trashes", ".DS_Store", "@eaDir", ".nfs00000000012a4c5b0000001f"],
)  # fmt: skip
def test_what_a_file_system_puts_there_by_itself_is_not_foreign(name: str) -> None:
    assert layout.foreign_entry({name}) is None
    assert layout.foreign_entry({name, "model.bin"}) == "model.bin"


@pytest.mark.parametrize("name", [".config", ".trasher", "snapshot", ".nfs", "lost+found.txt", ".git", "current"])
def test_what_a_user_may_have_put_there_is_foreign(name: str) -> None:
    assert layout.foreign_entry({name}) == name


def test_paths_of_a_revision() -> None:
    assert layout.incoming_path("r1", "a/b") == ".modelferry/incoming/r1/a/b"
    assert layout.published_path("r1") == "revisions/r1"
    assert layout.marker_path("r1") == "revisions/r1/.modelferry-ready.json"
