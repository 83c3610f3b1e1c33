"""What is remembered of a file and its places."""

from __future__ import annotations

from modelferry.checkpoint.api import OpenedFile
from modelferry.engine.download.file_download import (
    CHUNK_ATTEMPTS,
    IGNORED,
    IGNORED_AT_FIRST,
    STRIKES,
    STRIKES_AT_FIRST,
    FileDownload,
    LocationState,
)
from modelferry.manifest import Digest, FileEntry, Location

PLACES = (Location("https://one/a", "one"), Location("https://two/a", "two"))
PINNED = FileEntry("a", 30, Digest("md5", "0" * 32), PLACES)
UNPINNED = FileEntry("a", 30, None, PLACES)
FOUND = OpenedFile(0, False, (0,))


def strikes_until_the_end(location: LocationState) -> int:
    return next(count for count in range(1, 100) if location.strike(1))


def ignored_until_the_end(location: LocationState) -> int:
    return next(n for n in range(1, 100) if location.ignore_range(1))


def test_a_place_that_has_delivered_is_borne_longer() -> None:
    new, old = LocationState(PLACES[0]), LocationState(PLACES[0])
    old.deliver()
    assert strikes_until_the_end(new) == STRIKES_AT_FIRST
    assert strikes_until_the_end(old) == STRIKES


def test_a_place_that_has_answered_a_range_with_it_is_borne_longer_when_it_sends_whole_files() -> None:
    new, old = LocationState(PLACES[0]), LocationState(PLACES[0], ignored=2)
    old.keep_range()
    assert ignored_until_the_end(new) == IGNORED_AT_FIRST
    assert ignored_until_the_end(old) == IGNORED


def test_whole_files_between_ranges_do_not_add_up() -> None:
    location = LocationState(PLACES[0])
    for _ in range(IGNORED):
        assert not location.ignore_range(1)
        location.keep_range()


def test_a_good_chunk_wipes_the_slate() -> None:
    location = LocationState(PLACES[0])
    for _ in range(20):
        assert not location.strike(1)
        location.deliver()


def test_one_chunk_that_always_fails_is_not_hidden_by_others_that_do_not() -> None:
    location = LocationState(PLACES[0], delivered=True)
    assert not location.strike(CHUNK_ATTEMPTS - 1)
    assert location.strike(CHUNK_ATTEMPTS)
    assert location.ignore_range(CHUNK_ATTEMPTS)


def test_the_manifests_validator_is_the_first_places_alone() -> None:
    work = FileDownload.of(0, FileEntry("a", 30, None, PLACES, '"resolved"'), FOUND)
    first, second = (work.expectation(location, plain_http=False) for location in work.locations)
    assert (first.mark, second.mark) == ('"resolved"', "")


def test_a_new_generation_knows_no_validator() -> None:
    work = FileDownload.of(0, UNPINNED, OpenedFile(0, False, (1,), (("two", '"v"'),)))
    work.begin_generation(OpenedFile(1, False, (0, 1)))
    assert (work.generation, work.missing) == (1, {0, 1})
    assert all(location.validator is None for location in work.locations)
