"""docs/hostile-servers.md says what the code does: every row, by its number."""

from __future__ import annotations

import ast
import re
from collections import defaultdict
from collections.abc import Iterator
from dataclasses import dataclass, replace
from pathlib import Path

import pytest

from modelferry.engine.download.coordinator import Settings
from modelferry.engine.download.file_download import (
    CHUNK_ATTEMPTS,
    IGNORED,
    IGNORED_AT_FIRST,
    STRIKES,
    STRIKES_AT_FIRST,
)
from modelferry.engine.verdicts import Action, Verdict, ended, judge
from modelferry.http.backoff import FIRST_DELAY, MAX_DELAY
from modelferry.http.wire import ServerBehavior
from modelferry.http.wire.fields import MAX_RETRY_AFTER, MIN_RETRY_AFTER
from modelferry.http.wire.framing import MAX_TRAILERS
from modelferry.http.wire.head_parser import MAX_FIELDS, MAX_HEAD, MAX_INTERIM
from modelferry.http.wire.redirects import MAX_REDIRECTS
from network.catalogue import CASES
from unit.engine.verdicts.test_judge import ASK, ENDED, PINNED, REFUSED, TAKE, TAKEN, said

ROOT = Path(__file__).parents[3]
PAGE = ROOT / "docs" / "hostile-servers.md"
ACTIONS = {action.name: action for action in Action}


@dataclass(frozen=True)
class Row:
    """A row of the page: its cells."""

    number: int
    name: str
    reaction: str
    seen_by: str

    @property
    def actions(self) -> set[Action]:
        """The verdicts that it names."""
        return {ACTIONS[word] for word in re.findall(r"`([A-Z]+)`", self.reaction) if word in ACTIONS}

    @property
    def proofs(self) -> list[str]:
        """What it says that it is seen by."""
        return re.findall(r"`(\w+)`", self.seen_by)


def rows() -> list[Row]:
    cells = [[cell.strip() for cell in line.strip("|").split("|")] for line in PAGE.read_text().splitlines()]
    return [Row(int(c[0]), c[1].strip("`"), c[4], c[5]) for c in cells if len(c) == 6 and c[0].isdigit()]


ROWS = {row.number: row for row in rows()}


def verdicts() -> Iterator[Verdict]:
    """Those on the responses of the tests of `judge`."""
    for _, request, head, expectation, _ in TAKEN:
        yield judge(request, head, expectation)
    for _, request, head, expectation, _, _ in REFUSED:
        yield judge(request, head, expectation)
    for _, taken, framing, surplus, _ in ENDED:
        verdict = ended(taken, replace(TAKE, framing=framing), surplus)
        assert verdict is not None
        yield verdict
    for status in (408, 421, 429, 500, 502, 503, 504):
        yield judge(ASK, said(status), PINNED)
    yield judge(ASK, said(429, ("retry-after", "86400")), PINNED)
    yield judge(ASK, said(307, ("location", "/elsewhere")), PINNED)


def numbers_in_the_code() -> set[int]:
    """The number of every server behavior that the engine or the HTTP layer names."""
    found: set[int] = set()
    for package in ("engine", "http"):
        for path in (ROOT / "operator" / "modelferry" / package).rglob("*.py"):
            for node in ast.walk(ast.parse(path.read_text())):
                if isinstance(node, ast.Attribute) and getattr(node.value, "id", "") == "ServerBehavior":
                    found |= {ServerBehavior[node.attr].value} if node.attr.isupper() else set()
    return found - {ServerBehavior.WELL_BEHAVED}


def test_each_row_has_the_name_of_the_code() -> None:
    named = {
        behavior.value: behavior.label for behavior in ServerBehavior if behavior is not ServerBehavior.WELL_BEHAVED
    }
    assert {row.number: row.name for row in ROWS.values()} == named


def test_the_page_has_all_rows_of_the_catalogue_in_order() -> None:
    assert [row.number for row in rows()] == list(range(1, 57))


def test_the_page_explains_every_action_and_no_other() -> None:
    assert re.findall(r"^\| `([A-Z]+)` \|", PAGE.read_text(), re.MULTILINE) == list(ACTIONS)


def test_each_row_that_judge_decides_has_the_actions_that_it_takes() -> None:
    decided: dict[int, set[Action]] = defaultdict(set)
    for verdict in verdicts():
        decided[verdict.behavior].add(verdict.action)
    assert {row.number: row.actions for row in ROWS.values() if row.actions} == decided
    assert {row.number for row in ROWS.values() if "judge" in row.proofs} == set(decided)


def test_what_is_not_handled_says_so_and_is_not_in_the_code() -> None:
    unproved = {number for number, row in ROWS.items() if not row.proofs}
    assert all(ROWS[number].reaction.startswith("**Not yet**") for number in unproved)
    assert unproved == {number for number, row in ROWS.items() if row.reaction.startswith("**Not yet**")}
    assert not unproved, "a row came or went: is the introduction of the page still right?"
    assert not numbers_in_the_code() & unproved


def test_the_code_knows_no_row_that_the_page_does_not() -> None:
    assert numbers_in_the_code() <= set(ROWS)
    assert len(numbers_in_the_code()) > 20, "the code is not read any more"


def test_the_rows_that_are_run_over_sockets_are_those_of_the_table() -> None:
    assert {row.number for row in ROWS.values() if "catalogue" in row.proofs} == {case.behavior for case in CASES}


@pytest.mark.parametrize("row", ROWS.values(), ids=lambda row: f"row {row.number}")
def test_whoever_a_row_is_seen_by_exists(row: Row) -> None:
    tests = "\n".join(path.read_text() for path in sorted((ROOT / "tests").rglob("test_*.py")))
    for proof in row.proofs:
        if proof not in ("judge", "catalogue"):
            assert re.search(rf"^(async )?def {proof}\(", tests, re.MULTILINE), proof


def test_the_numbers_on_the_page_are_those_of_the_code() -> None:
    text = " ".join(PAGE.read_text().split())
    for said_there in (
        f"a backoff ({FIRST_DELAY} s, doubled, at most {MAX_DELAY:.0f} s",
        f"at least every {Settings().progress_deadline / 60:.0f} minutes",
        f"{STRIKES_AT_FIRST} broken responses in a row ({STRIKES} where it has delivered before; {CHUNK_ATTEMPTS}",
        f"requested again {IGNORED_AT_FIRST} times ({IGNORED} where",
        f"{MAX_HEAD // 1024} KiB and {MAX_FIELDS} fields per head, {MAX_INTERIM} interim responses",
        f"{MAX_TRAILERS // 1024} KiB of trailers",
        f"at least {MIN_RETRY_AFTER:.0f} s and at most {MAX_RETRY_AFTER / 60:.0f} min",
        f"redirect loop, or more than {MAX_REDIRECTS}",
    ):
        assert said_there in text


@pytest.mark.parametrize("page", ["README.md", "docs/architecture.md"])
def test_the_page_can_be_found(page: str) -> None:
    assert "hostile-servers.md" in (ROOT / page).read_text()
