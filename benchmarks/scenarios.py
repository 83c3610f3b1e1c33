"""The scenarios: files, network path, origin, and goals.

All of them, with three rounds each, take about 50 minutes. A timeout therefore stops the other tools on slow paths,
where they would take much longer; the tables show how much they had received. Modelferry has a longer timeout.
"""

from __future__ import annotations

from dataclasses import dataclass

from benchmarks import goals
from benchmarks.comparison import Workload
from benchmarks.goals import Goal
from benchmarks.link_model import CONTENT, FRAME
from benchmarks.network_path import LOOPBACK, NetworkPath, wan
from benchmarks.origins import ErrorRates
from benchmarks.payload import FileSet
from benchmarks.startup import FIRST_BYTE, FIRST_REQUEST
from benchmarks.stats import MB
from benchmarks.tools import TOOLS, Tool, modelferry, unverified

#: The size of the model in the first bug report: 3.7 GB.
_MODEL = FileSet(large_size=3_700 * MB)
_WAN, _LOSSY = wan(100, 0.180, 0.001), wan(100, 0.180, 0.01)
#: The network path of that report: 50 MB/s of content.
_UPLINK = NetworkPath("shaped", 50e6, queue=1_000_000)
_GIGABIT = NetworkPath("shaped", 1e9 / 8 * CONTENT / FRAME, queue=1_000_000)
_ERRORS = ErrorRates(reset=0.12, stall=0.08, ignore_range=0.19)
_OURS = (modelferry(),)
_WITHOUT = (modelferry(), unverified())
_WITHOUT_NOTE = "Unverified: chunks are not read back, hashed, synced or recorded (benchmarks/unverified.py)."


@dataclass(frozen=True, slots=True)
class Scenario:
    """``workload``, and a small version of it for ``quick`` runs. ``kind``: ``comparison`` or ``startup``.

    ``our_rounds``: rounds of Modelferry, if they are more than those of the other tools. ``share``: for ``startup``,
    the part of the file that is on the disk when a download is resumed.
    """

    name: str
    title: str
    workload: Workload
    quick: Workload
    goals: tuple[Goal, ...]
    tools: tuple[Tool, ...] = TOOLS
    kind: str = "comparison"
    our_rounds: int = 0
    share: float = 0.0
    note: str = ""


def _quick(path: NetworkPath = LOOPBACK, *, size: int = 6 * MB, **more: object) -> Workload:
    timeout = 60.0 if path is LOOPBACK else 3.5
    return Workload(FileSet(large_size=size), path, timeout=timeout, **more)  # type: ignore[arg-type]


SCENARIOS = (
    Scenario(
        "tls",
        "A file of 3.7 GB over TLS 1.3 on loopback",
        Workload(_MODEL),
        _quick(size=200 * MB),
        (
            goals.speed(1.0, aim=" (aim: 1.5x)"),
            goals.speed(1.5, checked=True),
            goals.least_cpu(),
        ),
    ),
    Scenario(
        "plain",
        "A file of 3.7 GB over plain HTTP on loopback",
        Workload(_MODEL, tls=False),
        _quick(size=200 * MB, tls=False),
        (goals.speed(1.0, checked=True),),
    ),
    Scenario(
        "memory",
        "Memory with 16 to 128 connections, TLS 1.3 on loopback",
        Workload(FileSet(large_size=2_000 * MB)),
        _quick(size=200 * MB),
        (goals.peak_memory("fetch", 48), goals.peak_memory("checkpoint", 40)),
        tools=tuple(modelferry(("--connections", str(count))) for count in (16, 32, 64, 128)),
    ),
    Scenario(
        "wan",
        "100 Mbit/s, 180 ms, 0.1 % loss",
        Workload(FileSet(large_size=512 * MB), _WAN, timeout=20.0),
        _quick(_WAN),
        (goals.speed(1.15), goals.utilization(0.95, _WAN.capacity, "the path")),
    ),
    Scenario(
        "lossy",
        "100 Mbit/s, 180 ms, 1 % loss",
        Workload(FileSet(large_size=160 * MB), _LOSSY, timeout=15.0),
        _quick(_LOSSY, size=3 * MB),
        (goals.throughput(60),),
    ),
    Scenario(
        "rate-limited",
        "An origin that limits each response to 2.3 MB/s, an uplink of 50 MB/s",
        Workload(_MODEL, _UPLINK, rate=2_300_000, timeout=15.0),
        _quick(_UPLINK, size=24 * MB, rate=2_300_000),
        (goals.utilization(0.95, _UPLINK.capacity, "the uplink"), goals.time_saved(0.9, "wget")),
    ),
    Scenario(
        "repository",
        "A repository of 2,000 small files and 8 large ones, 200 Mbit/s, 50 ms",
        Workload(FileSet(8, 8 * MB, 2000, 4_000), wan(200, 0.050, 0.0), timeout=40.0),
        Workload(FileSet(2, 1 * MB, 60, 4_000), wan(200, 0.050, 0.0), timeout=4.0),
        (goals.speed(2.0),),
    ),
    Scenario(
        "server-errors",
        "100 Mbit/s, 180 ms, 0.1 % loss, and an origin that resets, stalls, and answers range requests with 200",
        Workload(FileSet(large_size=32 * MB), _WAN, errors=_ERRORS, timeout=25.0),
        Workload(FileSet(large_size=20 * MB), _WAN, errors=_ERRORS, timeout=4.0),
        (goals.no_failures(10),),
        our_rounds=10,
        note=f"The origin is tests/origin: {_ERRORS}; the same requests for each tool.",
    ),
    Scenario(
        "verification",
        "With and without verification and durability, 1 Gbit/s",
        Workload(FileSet(large_size=1_000 * MB), _GIGABIT),
        _quick(_GIGABIT, size=100 * MB),
        (goals.verification_overhead(0.05),),
        tools=_WITHOUT,
        note=_WITHOUT_NOTE,
    ),
    Scenario(
        "verification-loopback",
        "With and without verification and durability, loopback",
        Workload(_MODEL),
        _quick(size=200 * MB),
        (goals.verification_overhead(),),
        tools=_WITHOUT,
        note=_WITHOUT_NOTE,
    ),
    Scenario(
        "startup",
        "Time from the start of the processes to the first request, and to the first new byte",
        Workload(_MODEL),
        _quick(size=600 * MB),
        (
            goals.startup_time("new download", FIRST_REQUEST, 0.5),
            goals.startup_time("resumed", FIRST_BYTE, 1.0),
        ),
        tools=_OURS,
        kind="startup",
        share=0.95,
    ),
)
