"""docs/engine.md shows the state machines that the code has, and names modules that exist."""

from __future__ import annotations

import re
from collections.abc import Mapping
from enum import Enum
from pathlib import Path
from typing import Any

import pytest

from modelferry.checkpoint.api import OpenedFile, VerifyResult
from modelferry.engine.download.commands import CompareDigest, RestartFile
from modelferry.engine.download.file_download import FileDownload
from modelferry.engine.download.transitions import (
    CHUNK_TRANSITIONS,
    FILE_TRANSITIONS,
    ChunkEvent,
    ChunkState,
    FileAction,
    FileEvent,
    FileState,
)
from modelferry.engine.download.verification import FileStateMachine
from modelferry.engine.mirrors import CorruptionAttribution
from modelferry.manifest import Digest, FileEntry, Location
from unit.engine.download.stub_download import StubDownload

ROOT = Path(__file__).parents[4]
PAGE = (ROOT / "docs" / "engine.md").read_text()
Row = tuple[str, str, str, str]


def table(name: str) -> list[Row]:
    """The rows of one table of the page."""
    text = PAGE.partition(f"<!-- {name} -->")[2].partition(f"<!-- /{name} -->")[0]
    rows = [tuple(cell.strip() for cell in line.strip("|").split("|")) for line in text.strip().splitlines()]
    return [(row[0], row[1], row[2], row[3]) for row in rows[2:]]


def rows(transitions: Mapping[Any, tuple[Enum, Enum]]) -> list[Row]:
    """Transitions, as the page has them."""
    return [
        (state.value, event.value, after.value, action.value) for (state, event), (after, action) in transitions.items()
    ]


def test_the_page_has_the_state_machine_of_a_chunk() -> None:
    assert table("chunk") == rows(CHUNK_TRANSITIONS)


def test_the_page_has_the_state_machine_of_a_file() -> None:
    assert table("file") == rows(FILE_TRANSITIONS)


def test_every_state_and_event_occurs() -> None:
    assert {state for state, _ in CHUNK_TRANSITIONS} == set(ChunkState)
    assert {event for _, event in CHUNK_TRANSITIONS} == set(ChunkEvent)
    assert {state for state, _ in FILE_TRANSITIONS} == set(FileState)
    assert {event for _, event in FILE_TRANSITIONS} == set(FileEvent)


#: Events that bring a chunk that is missing into each state.
REACHED: dict[ChunkState, tuple[ChunkEvent, ...]] = {
    ChunkState.PENDING: (),
    ChunkState.FETCHING: (ChunkEvent.STARTED,),
    ChunkState.WRITTEN: (ChunkEvent.STARTED, ChunkEvent.LAST_PART_WRITTEN),
    ChunkState.COMMITTED: (ChunkEvent.COMMITTED,),
}


@pytest.mark.parametrize(("state", "event"), CHUNK_TRANSITIONS, ids=lambda value: value.name)
def test_a_chunk_changes_its_state_as_the_table_says(state: ChunkState, event: ChunkEvent) -> None:
    entry = FileEntry("a", 10, Digest("md5", "0" * 32), (Location("https://one/a", "one"),))
    file = FileDownload.of(0, entry, OpenedFile(0, False, (0,)))
    for step in REACHED[state]:
        file.advance_chunk(0, step)
    assert file.chunk_state(0) is state
    file.advance_chunk(0, event)
    assert file.chunk_state(0) is CHUNK_TRANSITIONS[state, event][0]


#: What is to be done because of an action, if that takes time.
COMMANDS: dict[FileAction, set[type]] = {
    FileAction.COMPARE_DIGEST: {CompareDigest},
    FileAction.FETCH_STREAM_AGAIN: {RestartFile},
    FileAction.RESTART: {RestartFile},
}


@pytest.mark.parametrize(("state", "event"), FILE_TRANSITIONS, ids=lambda value: value.name)
def test_a_file_changes_its_state_as_the_table_says(state: FileState, event: FileEvent) -> None:
    entry = FileEntry("a", 10, Digest("md5", "0" * 32), (Location("https://one/a", "one"),))
    download = StubDownload(entry, OpenedFile(0, False, (0,)), "one", verified=VerifyResult(True))
    after, action = FILE_TRANSITIONS[state, event]
    file = download.file
    file.state, file.attribution = state, CorruptionAttribution(("one",), round=frozenset({0}))
    if action in (FileAction.FETCH_FROM_OTHERS, FileAction.FETCH_NEXT_CHUNK):
        file.advance_chunk(0, ChunkEvent.COMMITTED)
    machine = FileStateMachine(download.state, lambda: 1.0)
    machine.advance(file, event)
    assert file.state is after
    assert {type(command) for command in machine.commands} == COMMANDS.get(action, set())


def test_an_event_that_cannot_be_is_an_error() -> None:
    entry = FileEntry("a", 10, Digest("md5", "0" * 32), (Location("https://one/a", "one"),))
    file = FileDownload.of(0, entry, OpenedFile(0, False, (0,)))
    with pytest.raises(KeyError):
        file.advance_chunk(0, ChunkEvent.REJECTED)


def test_the_path_of_a_chunk_has_at_most_twelve_lines_that_each_name_a_module() -> None:
    lines = re.findall(r"^ ?\d+\. (.*)$", PAGE, re.MULTILINE)
    assert 0 < len(lines) <= 12
    assert all(re.match(r"`[\w/]+\.py`", line) for line in lines)


def test_the_modules_that_the_page_names_exist() -> None:
    package = ROOT / "operator" / "modelferry"
    for module in set(re.findall(r"`([\w/]+\.py)`", PAGE)):
        assert (package / module).exists(), module
