"""``modelferry pull`` that is interrupted, and whose agents are killed: it reports its progress, and resumes."""

from __future__ import annotations

import asyncio
import os
import signal
import sys

import pytest

from modelferry.manifest import CHUNK_SIZE
from network.command.harness import (
    CONNECTIONS,
    CONTENTS,
    HELD_BACK,
    SIZE,
    CommandHarness,
    children,
    ended,
    gone,
    until_some_is_verified,
)
from origin.rules import Rule

pytestmark = pytest.mark.skipif(sys.platform != "linux", reason="looks for the command's children in /proc")


async def test_one_directory_has_one_pull_at_a_time(harness: CommandHarness) -> None:
    harness.origin.script.add(HELD_BACK)
    async with harness.started("--json") as first:
        await until_some_is_verified(first)
        second = await harness.pull()
        assert second.code == 4
        assert second.err.splitlines()[-1].startswith("modelferry: DirectoryBusy: ")
        assert f"process {children(first.pid)['checkpoint']} is working in it" in second.err
        harness.origin.script.clear()
        assert (await ended(first)).code == 0


@pytest.mark.parametrize("how", ["Ctrl-C", "SIGTERM"])
async def test_an_interrupted_pull_reports_its_progress_and_the_next_one_resumes(
    harness: CommandHarness, how: str
) -> None:
    harness.origin.script.add(HELD_BACK)
    async with harness.started("--json") as process:
        await until_some_is_verified(process)
        agents = children(process.pid)
        if how == "Ctrl-C":
            os.killpg(process.pid, signal.SIGINT)  # a terminal sends it to the entire group
        else:
            process.send_signal(signal.SIGTERM)
        first = await ended(process)
    assert set(agents) == {"fetch", "checkpoint"}
    await gone(agents)
    assert first.code == 130
    assert "MiB of 48.0 MiB are on the disk; the same command resumes" in first.err
    assert not (harness.target / "current").exists()

    harness.origin.script.clear()
    second = await harness.pull("--json")
    assert second.code == 0
    assert second.events("result")[0]["fetched"] <= SIZE - CHUNK_SIZE, "a verified chunk was fetched again"
    assert harness.current() == CONTENTS


async def test_a_second_signal_kills_an_agent_that_does_not_end(harness: CommandHarness) -> None:
    harness.origin.script.add(HELD_BACK)
    async with harness.started("--json") as process:
        await until_some_is_verified(process)
        agents = children(process.pid)
        os.kill(agents["fetch"], signal.SIGSTOP)
        process.send_signal(signal.SIGINT)
        process.send_signal(signal.SIGTERM)
        async with asyncio.timeout(8):  # the first signal alone would give it 10 s
            done = await ended(process)
    assert done.code == 130
    await gone(agents)


async def test_a_pull_that_is_interrupted_during_resolution_reports_it(harness: CommandHarness) -> None:
    harness.origin.script.add(Rule(delay=60))
    async with harness.started() as process:
        async with asyncio.timeout(30):
            while not harness.origin.accepted:  # noqa: ASYNC110 -- the origin has no event for it
                await asyncio.sleep(0)
        os.killpg(process.pid, signal.SIGINT)
        done = await ended(process)
    assert (done.code, done.out, done.err) == (130, "", "modelferry: interrupted\n")


@pytest.mark.parametrize("role", ["fetch", "checkpoint"])
async def test_a_killed_agent_is_restarted_and_resumes(harness: CommandHarness, role: str) -> None:
    harness.origin.script.add(HELD_BACK)
    async with harness.started("--json") as process:
        await until_some_is_verified(process)
        os.kill(children(process.pid)[role], signal.SIGKILL)
        harness.origin.script.clear()
        done = await ended(process)
    assert (done.code, done.err) == (0, "")
    assert harness.current() == CONTENTS
    assert harness.origin.sent() <= SIZE + (CONNECTIONS + 1) * CHUNK_SIZE


async def test_an_agent_that_is_killed_repeatedly_fails_with_the_likely_cause(harness: CommandHarness) -> None:
    harness.origin.script.add(Rule(path="asset/*", first=2, delay=60))
    async with harness.started() as process:
        killed: set[int] = set()
        while process.returncode is None:
            pid = children(process.pid).get("fetch")
            if pid is not None and pid not in killed:
                killed.add(pid)
                os.kill(pid, signal.SIGKILL)
            await asyncio.sleep(0.01)
        done = await ended(process)
    assert done.code == 4
    said = "modelferry: Killed: fetch was killed by SIGKILL 4 times without progress; check whether the machine is"
    assert done.err.splitlines()[-1].startswith(said)
    assert len(killed) == 4


async def test_after_a_killed_pull_no_agent_remains_and_the_next_pull_resumes(harness: CommandHarness) -> None:
    harness.origin.script.add(HELD_BACK)
    async with harness.started("--json") as process:
        await until_some_is_verified(process)
        agents = children(process.pid)
        process.kill()
        await process.wait()
        await gone(agents)
    harness.origin.script.clear()
    done = await harness.pull("--json")
    assert done.code == 0
    assert done.events("result")[0]["fetched"] <= SIZE - CHUNK_SIZE
    for left in harness.temporary.iterdir():  # no process could clean up after kill -9
        for path in left.iterdir():
            path.unlink()
        left.rmdir()
