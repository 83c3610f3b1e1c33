"""Measures the time from the start of Modelferry's processes to the first request, and to the first new byte."""

from __future__ import annotations

import os
import signal
import time
from collections.abc import Callable, Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

from benchmarks.comparison import Testbed, log
from benchmarks.measure import Group, Launch
from benchmarks.stats import OURS, Row, Spread
from benchmarks.tools import Job, modelferry
from modelferry.cli.status_client import fetch_progress

_TIMEOUT = 60.0
#: fetch has written content when it has written more than these bytes: more than a line of its log.
_LOG_SIZE = 4096

FIRST_REQUEST, FIRST_BYTE = "first request", "first new byte on the disk"


@dataclass(frozen=True, slots=True)
class StartupTimes:
    """Seconds from the start of both processes to the origin's first request, and to the first content on the disk.
    ``share``: the part of the file that was on the disk before."""

    request: float
    byte: float
    share: float


def measure_startup(bed: Testbed, rounds: int, share: float) -> list[Row]:
    """Rows for `rounds` new downloads, and as many resumed ones, after SIGKILL when `share` of the file was
    verified."""
    fresh, resumed = [], []
    for number in range(1, rounds + 1):
        fresh.append(_start(bed, bed.job(), 0.0))
        job = bed.job()
        resumed.append(_start(bed, job, _interrupted(bed, job, share), finish=True))
        log(f"  round {number}: fresh {_summary(fresh[-1])}; resumed {_summary(resumed[-1])}")
    bed.clear()
    return [*startup_rows("new download", fresh), *startup_rows("resumed", resumed)]


def _interrupted(bed: Testbed, job: Job, share: float) -> float:
    """Download until `share` of the file is verified, then kill both agents; returns the exact share."""
    # Few connections, so that few bytes are in transit when it is killed.
    launch = modelferry(("--connections", "2")).launch(job)
    wanted = sum(file.size for file in job.files)
    with _Running(bed, job, launch) as (_, fetch):
        deadline = time.monotonic() + _TIMEOUT
        while True:
            progress = fetch_progress(job.scratch / "status")
            done = progress.done / wanted if progress is not None else 0.0
            if done >= share:
                os.kill(fetch, signal.SIGKILL)
                return done
            if time.monotonic() > deadline:
                raise RuntimeError(
                    f"{share:.0%} not reached within {_TIMEOUT:.0f} s: {(job.scratch / 'log').read_text()[-500:]}"
                )
            time.sleep(0.01)


def _start(bed: Testbed, job: Job, share: float, *, finish: bool = False) -> StartupTimes:
    bed.origin.begin(1)
    launch = modelferry().launch(job)
    began, clock = time.time(), time.monotonic()
    with _Running(bed, job, launch) as (group, fetch):
        if not _wait_for(lambda: _bytes_written(fetch) > _LOG_SIZE, clock + _TIMEOUT):
            raise RuntimeError(f"no content arrived: {(job.scratch / 'log').read_text()[-500:]}")
        to_byte = time.monotonic() - clock
        if finish and not group.wait(fetch, clock + _TIMEOUT):
            raise RuntimeError("the resumed download did not end")
    served = bed.origin.served()
    if served.began is None:
        raise RuntimeError(f"no request arrived: {(job.scratch / 'log').read_text()[-500:]}")
    return StartupTimes(served.began - began, to_byte, share)


class _Running:
    """Both agents, killed at the end."""

    def __init__(self, bed: Testbed, job: Job, launch: Launch) -> None:
        self._launch = launch
        self._log = (job.scratch / "log").open("ab")
        self._group = Group(job.env(), job.scratch, self._log.fileno(), bed.prefix)

    def __enter__(self) -> tuple[Group, int]:
        for sidecar in self._launch.sidecars:
            self._group.start(sidecar)
        return self._group, self._group.start(self._launch.main)

    def __exit__(self, *_: object) -> None:
        self._group.kill()
        self._log.close()


def _bytes_written(pid: int) -> int:
    """Bytes that a process has written to files; send() to sockets does not count."""
    with suppress(OSError):
        return bytes_written(Path(f"/proc/{pid}/io").read_text())
    return 0


def bytes_written(text: str) -> int:
    """``wchar`` in the text of /proc/PID/io."""
    return int(dict(line.split(": ") for line in text.splitlines())["wchar"])


def _wait_for(condition: Callable[[], bool], deadline: float) -> bool:
    while time.monotonic() < deadline:
        if condition():
            return True
        time.sleep(0.001)
    return False


def _summary(start: StartupTimes) -> str:
    return f"first request {start.request:.3f} s, first byte {start.byte:.3f} s ({start.share:.0%} on the disk before)"


def startup_rows(name: str, found: Sequence[StartupTimes]) -> list[Row]:
    """One row for each of the two times."""
    times = {FIRST_REQUEST: [start.request for start in found], FIRST_BYTE: [start.byte for start in found]}
    return [Row(f"{name}: {what}", OURS, len(found), Spread.of(seconds)) for what, seconds in times.items()]
