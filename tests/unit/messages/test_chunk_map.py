"""The map of a model's chunks, as it is shown and as it is sent."""

from __future__ import annotations

import pytest

from modelferry.messages.chunk_map import MAX_CELLS, ChunkMap, runs, shrink, spread


@pytest.mark.parametrize(
    ("letters", "text"), [("", ""), ("d", "1d"), ("dddip", "3d1i1p"), ("bpbp", "1b1p1b1p"), ("d" * 4000, "4000d")]
)
def test_run_lengths_and_back(letters: str, text: str) -> None:
    assert runs(letters) == text
    assert spread(text) == letters


@pytest.mark.parametrize(
    "text", ["d", "3", "3x", "3d ", "-1d", "9999999999d", f"{MAX_CELLS}d1p", "999999999d999999999p"]
)
def test_what_is_no_map_is_refused_before_it_takes_any_room(text: str) -> None:
    with pytest.raises(ValueError, match="not a map of chunks"):
        spread(text)


def test_a_cell_of_several_chunks_shows_the_worst_of_them() -> None:
    assert shrink("dddddd", 3) == ("ddd", 2)
    assert shrink("ddpddibb", 4) == ("dpib", 2)
    assert shrink("dpd", 1) == ("p", 3)
    assert shrink("", 5) == ("", 1)


def test_a_map_of_any_model_stays_small() -> None:
    seen = ChunkMap.of("r", "dp" * 100_000)
    assert (seen.chunks, seen.done, seen.scale) == (200_000, 100_000, 49)
    assert len(seen.cells) <= MAX_CELLS
    assert len(seen.encode()) < 20_000
    worst = ChunkMap.of("r", "dibp" * (MAX_CELLS // 4))
    assert len(worst.encode()) < 20_000


def test_a_map_is_read_as_it_was_written_and_what_is_new_passed_over() -> None:
    seen = ChunkMap.of("r", "ddibp")
    assert ChunkMap.decode(seen.encode()) == seen
    assert ChunkMap.decode(seen.encode().replace("{", '{"new":1,', 1)) == seen


@pytest.mark.parametrize("text", ["", "[]", '"x"', '{"cells":5}', '{"cells":"x"}', "null"])
def test_what_is_no_map_message_is_refused(text: str) -> None:
    with pytest.raises(ValueError, match=r"map of chunks|Expecting value"):
        ChunkMap.decode(text)
