"""What ``modelferry pull`` writes to a terminal, and where there is none."""

from __future__ import annotations

import asyncio
import fcntl
import json
import os
import signal
import struct
import sys
import termios

import pytest

from modelferry.manifest import CHUNK_SIZE
from network.command.harness import (
    CONTENTS,
    HELD_BACK,
    MODELFERRY,
    CommandHarness,
    Ended,
    children,
    ended,
    gone,
    read_to_the_end,
)
from origin.rules import Rule

pytestmark = pytest.mark.skipif(sys.platform != "linux", reason="looks for the command's children in /proc")


async def test_without_a_terminal_the_progress_is_printed_as_lines(harness: CommandHarness) -> None:
    harness.origin.rate = 4e6
    done = await harness.pull()
    assert done.code == 0
    assert all(line.startswith("modelferry: ") for line in done.err.splitlines())
    assert " of 48.0 MiB, " in done.err


async def test_quiet_prints_nothing(harness: CommandHarness) -> None:
    harness.origin.rate = 16e6
    assert await harness.pull("--quiet") == Ended(0, "", "")


async def test_ctrl_c_at_a_terminal_leaves_one_line_and_a_clean_screen(harness: CommandHarness) -> None:
    harness.origin.script.add(HELD_BACK)
    ours, terminal = os.openpty()
    fcntl.ioctl(terminal, termios.TIOCSWINSZ, struct.pack("HHHH", 40, 100, 0, 0))
    async with harness.started(terminal=terminal) as process:
        os.close(terminal)
        reading = asyncio.create_task(asyncio.to_thread(read_to_the_end, ours))
        async with asyncio.timeout(30):
            while not any(entry.sent > 1 for entry in harness.origin.entries):  # noqa: ASYNC110 -- no event for it
                await asyncio.sleep(0.01)
        os.killpg(process.pid, signal.SIGINT)
        agents = children(process.pid)
        await process.communicate()
        drawn = await reading
    await gone(agents)
    assert process.returncode == 130
    last = drawn.rstrip().rpartition("modelferry: interrupted")[2]
    assert "the same command resumes" in last
    assert "Traceback" not in drawn
    # The cursor is shown again, and is in a line of its own.
    assert drawn.rfind("\x1b[?25h") >= drawn.rfind("\x1b[?25l")
    assert drawn.endswith("\n")


@pytest.mark.parametrize("as_json", [False, True])
async def test_on_a_terminal_the_progress_display_is_drawn_and_erased(harness: CommandHarness, as_json: bool) -> None:
    harness.origin.rate = 16e6
    ours, terminal = os.openpty()
    fcntl.ioctl(terminal, termios.TIOCSWINSZ, struct.pack("HHHH", 24, 100, 0, 0))
    command = [MODELFERRY, "pull", str(harness.directory / "model.yaml"), "--to", str(harness.target)]
    process = await asyncio.create_subprocess_exec(
        *(*command, "--ca-file", str(harness.authority.ca_file), *(["--json"] if as_json else [])),
        stdin=terminal,
        stdout=asyncio.subprocess.PIPE if as_json else terminal,
        stderr=terminal,
        env=os.environ | {"TMPDIR": str(harness.temporary), "TERM": "xterm-256color"},
        start_new_session=True,
    )
    os.close(terminal)
    (out, _), drawn = await asyncio.gather(process.communicate(), asyncio.to_thread(read_to_the_end, ours))
    assert process.returncode == 0
    assert "asset/model.safetensors" in drawn
    assert " of 3 files" in drawn
    assert "━" in drawn
    assert drawn.index("\x1b[?25l") < drawn.rindex("\x1b[?25h"), "the cursor stays hidden"
    last = drawn.rpartition("\x1b[2K")[2]
    assert "━" not in last, "the picture was not wiped"
    if as_json:
        assert json.loads(out.splitlines()[-1])["event"] == "result"
        assert "event" not in drawn
    else:
        assert "3 files, 48.0 MiB, complete and verified in" in last


async def test_with_map_the_progress_display_shows_every_chunk(harness: CommandHarness) -> None:
    harness.origin.rate = 16e6
    harness.origin.script.add(Rule(path="asset/*", covers=3 * CHUNK_SIZE, delay=1.5))
    ours, terminal = os.openpty()
    fcntl.ioctl(terminal, termios.TIOCSWINSZ, struct.pack("HHHH", 24, 100, 0, 0))
    async with harness.started("--map", terminal=terminal) as process:
        os.close(terminal)
        _, drawn = await asyncio.gather(process.communicate(), asyncio.to_thread(read_to_the_end, ours))
    assert process.returncode == 0
    assert "(one chunk each)" in drawn
    assert "█" in drawn
    assert "·" in drawn
    assert "asset/model.safetensors" in drawn


async def test_without_a_terminal_map_is_ignored_with_a_warning(harness: CommandHarness) -> None:
    done = await harness.pull("--map")
    assert done.code == 0
    assert "modelferry: --map needs a terminal, and standard error is not one\n" in done.err


@pytest.mark.parametrize(
    ("redirect", "option"),
    [("2>&-", "--map"), ("<&- >&- 2>&-", "--json"), (">/dev/full", "--json"), ("2>/dev/full", "--map")],
)
async def test_where_its_output_goes_does_not_decide_over_a_download(
    harness: CommandHarness, redirect: str, option: str
) -> None:
    async with harness.started(option, redirect=redirect) as process:
        done = await ended(process)
    assert done.code == 0
    assert harness.current() == CONTENTS
    said = "modelferry: standard output: No space left on device; what follows is not printed\n"
    assert (said in done.err, "Traceback" in done.err) == (redirect == ">/dev/full", False), done.err
    assert ("complete and verified" in done.out) == (option == "--map")


async def test_a_reader_of_the_events_may_end_before_the_download(harness: CommandHarness) -> None:
    harness.origin.rate = 30e6
    async with harness.started("--json") as process:
        assert process.stdout is not None
        await process.stdout.readline()
        process.stdout._transport.close()  # type: ignore[attr-defined]
        assert process.stderr is not None
        said = (await process.stderr.read()).decode()
        assert (await process.wait(), "Traceback" in said) == (0, False), said
    assert harness.current() == CONTENTS


@pytest.mark.parametrize("redirect", ["2>&-", "2>/dev/full"])
async def test_an_error_that_cannot_be_printed_keeps_its_exit_code(harness: CommandHarness, redirect: str) -> None:
    async with harness.started(trust=False, redirect=redirect) as process:
        assert await ended(process) == Ended(3, "", "")
