"""Which mirror served corrupt data."""

from __future__ import annotations

import pytest

from modelferry.engine.mirrors import CorruptionAttribution


class Story:
    """Chunks of one file, mirrors that serve some of them corrupt, and an attribution that goes on until the file is
    right."""

    def __init__(self, served_by: str, mirrors: str, corrupt: set[tuple[str, int]], wrong: bool = False) -> None:
        self.corrupt, self.mirrors, self.wrong = corrupt, mirrors, wrong
        self.bytes = [self.served(name, index) for index, name in enumerate(served_by)]
        self.attribution: CorruptionAttribution | None = CorruptionAttribution.of([(name, 1) for name in served_by])
        self.fetched = 0
        self.found = ""
        self.run()

    def served(self, name: str, index: int) -> str:
        return f"{name}'s corrupt chunk" if (name, index) in self.corrupt else "right"

    def run(self) -> None:
        while self.attribution is not None and (following := self.attribution.next_round(self.mirrors)) is not None:
            self.attribution = following
            others = [name for name in self.mirrors if name != following.suspect]
            for turn, index in enumerate(sorted(following.round)):
                other = others[turn % len(others)]
                was, self.bytes[index] = self.bytes[index], self.served(other, index)
                self.attribution = self.attribution.record_chunk(index, other, was != self.bytes[index])
                self.fetched += 1
            if self.attribution.changed and set(self.bytes) == {"right"} and not self.wrong:
                self.found = following.suspect
                return


@pytest.mark.parametrize("corrupt", "ABC")
@pytest.mark.parametrize("chunks", [{3}, {0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13}])
def test_one_corrupt_mirror_of_three_is_found_and_the_file_is_right(corrupt: str, chunks: set[int]) -> None:
    served_by = "ABBCCCC" * 2
    story = Story(served_by, "ABC", {(corrupt, index) for index in chunks})
    if any(served_by[index] == corrupt for index in chunks):
        assert story.found == corrupt
        assert set(story.bytes) == {"right"}
        assert story.fetched <= 2 * len(served_by)


@pytest.mark.parametrize("corrupt", "AB")
def test_one_corrupt_mirror_of_two_is_found(corrupt: str) -> None:
    story = Story("ABABAB", "AB", {(corrupt, index) for index in range(6)})
    assert (story.found, set(story.bytes)) == (corrupt, {"right"})


def test_with_a_wrong_declared_digest_each_chunk_is_fetched_once_more_and_no_mirror_is_blamed() -> None:
    story = Story("AABBC", "ABC", set(), wrong=True)
    assert (story.found, story.fetched) == ("", 5)


def test_a_mirror_that_served_corrupt_data_before_is_suspected_first() -> None:
    following = CorruptionAttribution.of([("A", 1), ("B", 5)], ["B"]).next_round("AB")
    assert following is not None
    assert following.suspect == "B"


def test_with_no_other_mirror_none_is_suspected() -> None:
    assert CorruptionAttribution.of([("A", 5)]).next_round("A") is None
    assert CorruptionAttribution.of([]).next_round("AB") is None
