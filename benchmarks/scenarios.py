"""The scenarios: what is fetched over which line from what origin, and what is to be reached.

All of them, three rounds each, are to end within about 50 minutes, so a limit stops the other tools where a weak line
would hold them for much longer; the tables say what they had by then. Modelferry always has the time that it needs.
"""

from __future__ import annotations

from dataclasses import dataclass

from benchmarks import goals
from benchmarks.contest import Setting
from benchmarks.goals import Goal
from benchmarks.line import CONTENT, FRAME
from benchmarks.links import LOOPBACK, Line, wan
from benchmarks.origins import Faults
from benchmarks.payload import Files
from benchmarks.starting import FIRST_BYTE, FIRST_REQUEST
from benchmarks.stats import MB
from benchmarks.tools import TOOLS, Tool, modelferry, unchecked

#: The report's file: 3.7 GB.
_MODEL = Files(large_size=3_700 * MB)
_WAN, _LOSSY = wan(100, 0.180, 0.001), wan(100, 0.180, 0.01)
#: The report's line: 50 MB/s of content.
_UPLINK = Line("shaped", 50e6, queue=1_000_000)
_GIGABIT = Line("shaped", 1e9 / 8 * CONTENT / FRAME, queue=1_000_000)
_FAULTS = Faults(reset=0.12, stall=0.08, ignore_range=0.19)
_OURS = (modelferry(),)
_SWITCH = (modelferry(), unchecked())
_SWITCHED = "Unchecked, chunks are neither read back nor hashed, synced or recorded: benchmarks/unchecked.py."


@dataclass(frozen=True, slots=True)
class Scenario:
    """``quick`` is the same in small. ``ours``: rounds of Modelferry, where they are more than the others'. ``kind``:
    a ``contest``, or ``starts``. ``left_out`` says why it is not measured."""

    name: str
    title: str
    setting: Setting
    quick: Setting
    goals: tuple[Goal, ...]
    tools: tuple[Tool, ...] = TOOLS
    kind: str = "contest"
    ours: int = 0
    share: float = 0.0
    note: str = ""
    left_out: str = ""


def _quick(line: Line = LOOPBACK, *, size: int = 6 * MB, **more: object) -> Setting:
    limit = 60.0 if line is LOOPBACK else 3.5
    return Setting(Files(large_size=size), line, limit=limit, **more)  # type: ignore[arg-type]


SCENARIOS = (
    Scenario(
        "tls",
        "A file of 3.7 GB over TLS 1.3 on loopback",
        Setting(_MODEL),
        _quick(size=200 * MB),
        (
            goals.faster(1.0, aim=" (aim: 1.5x)"),
            goals.faster(1.5, checked=True),
            goals.leaner(),
        ),
    ),
    Scenario(
        "plain",
        "The same over plain HTTP",
        Setting(_MODEL, tls=False),
        _quick(size=200 * MB, tls=False),
        (goals.faster(1.0, checked=True),),
    ),
    Scenario(
        "memory",
        "Memory with 16 to 128 connections, TLS 1.3 on loopback",
        Setting(Files(large_size=2_000 * MB)),
        _quick(size=200 * MB),
        (goals.within("fetch", 48), goals.within("checkpoint", 40)),
        tools=tuple(modelferry(("--connections", str(count))) for count in (16, 32, 64, 128)),
    ),
    Scenario(
        "wan",
        "100 Mbit/s, 180 ms, 0.1 % loss",
        Setting(Files(large_size=512 * MB), _WAN, limit=20.0),
        _quick(_WAN),
        (goals.faster(1.15), goals.fills(0.95, _WAN.carries, "the line")),
    ),
    Scenario(
        "lossy",
        "100 Mbit/s, 180 ms, 1 % loss",
        Setting(Files(large_size=160 * MB), _LOSSY, limit=15.0),
        _quick(_LOSSY, size=3 * MB),
        (goals.reaches(60),),
    ),
    Scenario(
        "capped",
        "An origin that gives each stream 2.3 MB/s, an uplink of 50 MB/s",
        Setting(_MODEL, _UPLINK, rate=2_300_000, limit=15.0),
        _quick(_UPLINK, size=24 * MB, rate=2_300_000),
        (goals.fills(0.95, _UPLINK.carries, "the uplink"), goals.saves(0.9, "wget")),
    ),
    Scenario(
        "repository",
        "A repository of 2,000 small files and 8 large ones, 200 Mbit/s, 50 ms",
        Setting(Files(8, 8 * MB, 2000, 4_000), wan(200, 0.050, 0.0), limit=40.0),
        Setting(Files(2, 1 * MB, 60, 4_000), wan(200, 0.050, 0.0), limit=4.0),
        (goals.faster(2.0),),
    ),
    Scenario(
        "faults",
        "The line with 0.1 % loss, and an origin that resets, stalls, and answers 200 to ranges",
        Setting(Files(large_size=32 * MB), _WAN, faults=_FAULTS, limit=25.0),
        Setting(Files(large_size=20 * MB), _WAN, faults=_FAULTS, limit=4.0),
        (goals.never_fails(10),),
        ours=10,
        note=f"The hostile origin of the tests (Python) serves: {_FAULTS}; the same draws for each tool.",
    ),
    Scenario(
        "switch",
        "Verification and durability switched on against off, 1 Gbit/s",
        Setting(Files(large_size=1_000 * MB), _GIGABIT),
        _quick(_GIGABIT, size=100 * MB),
        (goals.costs(0.05),),
        tools=_SWITCH,
        note=_SWITCHED,
    ),
    Scenario(
        "switch-loopback",
        "The same on loopback",
        Setting(_MODEL),
        _quick(size=200 * MB),
        (goals.costs(),),
        tools=_SWITCH,
        note=_SWITCHED,
    ),
    Scenario(
        "start",
        "From the start of the processes to the first request, and to the first new byte",
        Setting(_MODEL),
        _quick(size=600 * MB),
        (
            goals.sooner("from nothing", FIRST_REQUEST, 0.5),
            goals.sooner("resumed", FIRST_BYTE, 1.0),
        ),
        tools=_OURS,
        kind="starts",
        share=0.95,
    ),
)
