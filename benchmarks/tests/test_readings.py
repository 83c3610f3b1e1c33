"""What is parsed from the kernel's files, from an origin's log, and from the output of tools."""

from __future__ import annotations

from pathlib import Path

from benchmarks.comparison import last_line, rotated
from benchmarks.machine import file_system
from benchmarks.measure import memory_of
from benchmarks.origins import ErrorRates, Served, rules, served_in
from benchmarks.payload import FileSet
from benchmarks.startup import bytes_written
from benchmarks.tools import TOOLS

from origin.rules import Rule


def test_current_and_peak_memory() -> None:
    assert memory_of("Name:\tx\nVmHWM:\t  2048 kB\nVmRSS:\t  1024 kB\n") == (1 << 20, 2 << 20)
    assert memory_of("Name:\tx\nState:\tZ (zombie)\n") == (0, 0)


def test_bytes_written() -> None:
    assert bytes_written("rchar: 5\nwchar: 4711\nsyscr: 1\n") == 4711


def test_the_longest_mount_point_of_a_path_decides() -> None:
    mounts = "a / ext4 rw 0 0\nb /home tmpfs rw 0 0\nc /home/x xfs rw 0 0\n"
    assert file_system(mounts, Path("/home/x/y")) == "xfs"
    assert file_system(mounts, Path("/homes")) == "ext4"


def test_bytes_and_start_are_read_from_nginxs_log() -> None:
    entries = [
        {"sent": 10, "time": 105.0, "seconds": 3.0},
        {"sent": 20, "time": 104.0, "seconds": 4.0},
    ]
    assert served_in(entries) == Served(30, 2, 100.0)
    assert served_in([]) == Served()


def test_errors_occur_at_the_given_rates_and_are_the_same_for_every_tool() -> None:
    drawn = rules(ErrorRates(reset=0.12, stall=0.08, ignore_range=0.19), seed=3)
    assert drawn == rules(ErrorRates(reset=0.12, stall=0.08, ignore_range=0.19), seed=3)
    made = [Rule.of(body) for body in drawn]
    assert 200 < sum(rule.reset is not None for rule in made) < 280
    assert 120 < sum(rule.stall is not None for rule in made) < 200
    assert 330 < sum(rule.ignore_range for rule in made) < 430
    assert len({rule.first for rule in made}) == len(made)


def test_every_tool_is_first_in_some_round() -> None:
    assert {rotated(TOOLS, number)[0].name for number in range(len(TOOLS))} == {tool.name for tool in TOOLS}
    assert len(rotated(TOOLS, 3)) == len(TOOLS)


def test_a_file_set_has_paths_sizes_and_a_description() -> None:
    files = FileSet(2, 1000, 150, 10)
    assert files.size == 3500
    paths = [path for path, _ in files.paths]
    assert len(set(paths)) == 152
    assert str(files) == "2 files of 1 kB and 150 files of 10 bytes"


def test_only_the_error_of_a_traceback_is_kept() -> None:
    assert last_line('Traceback:\n  File "/home/me/x.py", line 1\nException: No content length\n\n') == (
        "Exception: No content length"
    )
    assert last_line("") == ""
