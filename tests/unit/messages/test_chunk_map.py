"""The chunk map, as it is shown and as it is sent."""

from __future__ import annotations

import pytest

from modelferry.messages.chunk_map import MAX_CELLS, ChunkMap, decode_runs, downsample, encode_runs


@pytest.mark.parametrize(
    ("letters", "text"), [("", ""), ("d", "1d"), ("dddip", "3d1i1p"), ("bpbp", "1b1p1b1p"), ("d" * 4000, "4000d")]
)
def test_run_lengths_and_back(letters: str, text: str) -> None:
    assert encode_runs(letters) == text
    assert decode_runs(text) == letters


@pytest.mark.parametrize(
    "text", ["d", "3", "3x", "3d ", "-1d", "9999999999d", f"{MAX_CELLS}d1p", "999999999d999999999p"]
)
def test_an_invalid_map_is_rejected_before_it_is_expanded(text: str) -> None:
    with pytest.raises(ValueError, match="not a chunk map"):
        decode_runs(text)


def test_a_cell_of_several_chunks_shows_the_worst_of_them() -> None:
    assert downsample("dddddd", 3) == ("ddd", 2)
    assert downsample("ddpddibb", 4) == ("dpib", 2)
    assert downsample("dpd", 1) == ("p", 3)
    assert downsample("", 5) == ("", 1)


def test_a_map_of_any_model_stays_small() -> None:
    seen = ChunkMap.from_letters("r", "dp" * 100_000)
    assert (seen.chunks, seen.done, seen.scale) == (200_000, 100_000, 49)
    assert len(seen.cells) <= MAX_CELLS
    assert len(seen.encode()) < 20_000
    worst = ChunkMap.from_letters("r", "dibp" * (MAX_CELLS // 4))
    assert len(worst.encode()) < 20_000


def test_a_map_is_read_as_it_was_written_and_new_fields_are_skipped() -> None:
    seen = ChunkMap.from_letters("r", "ddibp")
    assert ChunkMap.decode(seen.encode()) == seen
    assert ChunkMap.decode(seen.encode().replace("{", '{"new":1,', 1)) == seen


@pytest.mark.parametrize("text", ["", "[]", '"x"', '{"cells":5}', '{"cells":"x"}', "null"])
def test_an_invalid_message_is_rejected(text: str) -> None:
    with pytest.raises(ValueError, match=r"chunk map|Expecting value"):
        ChunkMap.decode(text)
