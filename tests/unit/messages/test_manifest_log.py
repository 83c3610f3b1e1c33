"""A manifest in a pod's log."""

from __future__ import annotations

import random

import pytest

from modelferry.messages.manifest_log import print_manifest, read_manifest

DATA = random.Random(1).randbytes(20_000)
LINES = print_manifest(DATA).splitlines()


@pytest.mark.parametrize("data", [b"", b"x", DATA[:6000], DATA[:6001], DATA])
def test_what_was_printed_is_read_back(data: bytes) -> None:
    assert read_manifest(print_manifest(data)) == data


def test_a_line_stays_below_the_length_at_which_the_runtime_splits_it() -> None:
    assert max(map(len, LINES)) < 16 * 1024


def test_other_lines_before_between_and_after_are_skipped() -> None:
    noisy = [
        "WARNING: retrying",
        LINES[0],
        "",
        "modelferry-manifest",
        "x modelferry-manifest 1 AAAA",
        *LINES[1:],
        "bye",
    ]
    assert read_manifest("\n".join(noisy)) == DATA


def test_a_second_printing_after_a_restart_does_no_harm() -> None:
    assert read_manifest("\n".join([*LINES[:2], *LINES])) == DATA


@pytest.mark.parametrize("lost", range(len(LINES)))
def test_a_log_that_lost_any_line_is_not_read(lost: int) -> None:
    assert read_manifest("\n".join(LINES[:lost] + LINES[lost + 1 :])) is None


@pytest.mark.parametrize("kept", [1, 7, 100])
def test_a_log_that_was_cut_in_a_line_is_not_read(kept: int) -> None:
    assert read_manifest("\n".join([*LINES[:-2], LINES[-2][:-kept], LINES[-1]])) is None
    assert read_manifest("\n".join(LINES)[:-kept]) is None


def test_an_altered_part_is_rejected() -> None:
    altered = LINES[0].replace("A", "B", 1)
    assert altered != LINES[0]
    assert read_manifest("\n".join([altered, *LINES[1:]])) is None


@pytest.mark.parametrize(
    "end", ["modelferry-manifest end x y", "modelferry-manifest end -1 y", "modelferry-manifest end 1 y"]
)
def test_a_forged_end_is_not_read(end: str) -> None:
    assert read_manifest("\n".join([*LINES[:-1], end])) is None
