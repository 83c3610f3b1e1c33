"""How a running download looks."""

from __future__ import annotations

import io
from dataclasses import replace

import pytest
from rich.console import Console

from modelferry.cli.display import chunk_map_view, elapsed_text, percent, progress_line, progress_view
from modelferry.messages import ChunkMap, FileProgress, Progress

MIB = 1 << 20
HALF = Progress(
    phase="fetching",
    revision="8f3c2a1",
    total=1024 * MIB,
    done=400 * MIB,
    received=440 * MIB,
    speed=212.0 * MIB,
    eta=2.75,
    connections=16,
    retries=2,
    files_total=9,
    files_done=2,
    files=(
        FileProgress("asset/gpt/model-00001-of-00002.safetensors", 512 * MIB, 312 * MIB, "fetching"),
        FileProgress("asset/decoder.safetensors", 100 * MIB, 100 * MIB, "verifying"),
        FileProgress("config/decoder.yaml", 10, 0, "pending"),
        FileProgress("config/path.yaml", 10, 10, "verified"),
    ),
)


def drawn(progress: Progress, width: int = 100, height: int = 24) -> list[str]:
    console = Console(file=io.StringIO(), width=width, height=height, force_terminal=True, color_system=None)
    with console.capture() as capture:
        console.print(progress_view(progress, height))
    return capture.get().splitlines()


def test_a_line_says_how_far_how_fast_and_how_long() -> None:
    assert (
        progress_line(HALF)
        == "42% of 1 GiB, 212 MiB/s, 3 s left, 16 connections, 400 MiB on the disk, 2 retries, 2 of 9 files"
    )


def test_before_anything_is_known_it_says_that_it_starts() -> None:
    assert progress_line(Progress("starting")) == "starting"
    assert [line.strip() for line in drawn(Progress("starting"))] == ["starting"]


def test_a_line_says_what_is_done_instead_of_fetching() -> None:
    line = progress_line(replace(HALF, phase="recovering"))
    assert line.startswith("checking what is on the disk after an unclean stop")


def test_the_picture_has_a_line_for_each_file_at_work_and_the_total() -> None:
    lines = drawn(HALF)
    assert [line.split()[0] for line in lines] == [
        "asset/gpt/model-00001-of-00002.safetensors",
        "asset/decoder.safetensors",
        "2",
        "212",
    ]
    assert "312 MiB / 512 MiB" in lines[0]
    assert "checking" in lines[1]
    assert "42%  440 MiB / 1 GiB" in lines[2]
    assert lines[3].strip() == "212 MiB/s, 3 s left, 16 connections, 400 MiB on the disk, 2 retries"


@pytest.mark.parametrize("width", [40, 80, 200])
def test_no_line_is_wider_than_the_terminal(width: int) -> None:
    assert max(map(len, drawn(HALF, width=width))) <= width


def test_more_files_than_lines_are_counted() -> None:
    many = tuple(FileProgress(f"file-{n}", 10, 5, "fetching") for n in range(30))
    lines = drawn(replace(HALF, files=many), height=10)
    assert len(lines) <= 10
    assert "and 23 more" in "\n".join(lines)


def test_a_file_name_is_shown_as_it_is_and_not_as_markup() -> None:
    odd = FileProgress("[red]x[/red].bin", 10, 5, "fetching")
    assert drawn(replace(HALF, files=(odd,)))[0].startswith("[red]x[/red].bin")


def test_it_is_complete_only_when_every_byte_is_there() -> None:
    assert percent(replace(HALF, received=HALF.total - 1)) == 99
    assert percent(replace(HALF, received=HALF.total)) == 99
    assert percent(replace(HALF, received=HALF.total, done=HALF.total)) == 100
    assert percent(Progress("published")) == 100


@pytest.mark.parametrize(
    ("seconds", "text"),
    [(0, "0 s"), (59.4, "59 s"), (59.6, "1:00 min"), (187, "3:07 min"), (725, "12:05 min"), (3729, "1:02:09 h")],
)
def test_a_duration_reads_as_people_say_it(seconds: float, text: str) -> None:
    assert elapsed_text(seconds) == text


def mapped(letters: str, width: int, height: int) -> list[str]:
    console = Console(file=io.StringIO(), width=width, force_terminal=True, color_system=None)
    with console.capture() as capture:
        console.print(chunk_map_view(ChunkMap.from_letters("r", letters), width, height))
    return capture.get().splitlines()


def test_the_map_has_a_sign_for_each_chunk_and_says_what_they_mean() -> None:
    *cells, legend = mapped("dddibpppp", 80, 10)
    assert cells == ["███▒x····"]
    assert legend == "█ 3 done  ▒ 1 in flight  · 4 pending  x 1 bad  (one chunk each)"
    assert mapped("dp" * 10, 8, 10)[:3] == ["█·█·█·█·", "█·█·█·█·", "█·█·"]


@pytest.mark.parametrize(("width", "height"), [(80, 2), (80, 24), (20, 5), (1, 2), (1, 1)])
def test_the_map_of_a_large_model_fits_into_what_it_is_given(width: int, height: int) -> None:
    lines = mapped("d" * 3000 + "p" * 3000, width, height)
    assert len(lines) <= max(height, 2)
    assert max(map(len, lines)) <= width


def test_what_a_cell_stands_for_is_said() -> None:
    assert mapped("d" * 30_000, 100, 11)[-1].endswith("(32 chunks each)")
