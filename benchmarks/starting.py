"""How soon Modelferry is at work: from the start of its processes to the first request, and to the first new byte."""

from __future__ import annotations

import os
import signal
import time
from collections.abc import Callable, Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

from benchmarks.contest import Scene, tell
from benchmarks.measure import Group, Launch
from benchmarks.stats import OURS, Row, Spread
from benchmarks.tools import Job, modelferry
from modelferry.cli.status_client import ask

_LIMIT = 60.0
#: Bytes that fetch must have written before it counts as content: more than a line of a log.
_CONTENT = 4096

FIRST_REQUEST, FIRST_BYTE = "first request", "first new byte on the disk"


@dataclass(frozen=True, slots=True)
class Start:
    """Seconds from the start of both processes to the origin's first request, and to the first content on the disk.
    ``share`` of the file was there already."""

    request: float
    byte: float
    share: float


def starts(scene: Scene, rounds: int, share: float) -> list[Row]:
    """Rows of `rounds` starts from nothing, and as many of a file of which `share` is there, killed by SIGKILL."""
    fresh, resumed = [], []
    for number in range(1, rounds + 1):
        fresh.append(_started(scene, scene.job(), 0.0))
        job = scene.job()
        resumed.append(_started(scene, job, _prepared(scene, job, share), finish=True))
        tell(f"  round {number}: fresh {_shown(fresh[-1])}; resumed {_shown(resumed[-1])}")
    scene.clear()
    return [*rows_of("from nothing", fresh), *rows_of("resumed", resumed)]


def _prepared(scene: Scene, job: Job, share: float) -> float:
    """Fetch until `share` of the file is verified, then kill both agents; returns what is there in truth."""
    # Few streams, so that little more than the rest is in flight when it is killed.
    launch = modelferry(("--connections", "2")).launch(job)
    wanted = sum(file.size for file in job.files)
    with _Running(scene, job, launch) as (_, fetch):
        deadline = time.monotonic() + _LIMIT
        while True:
            progress = ask(job.scratch / "status")
            done = progress.done / wanted if progress is not None else 0.0
            if done >= share:
                os.kill(fetch, signal.SIGKILL)
                return done
            if time.monotonic() > deadline:
                raise RuntimeError(f"no {share:.0%} within {_LIMIT:.0f} s: {(job.scratch / 'log').read_text()[-500:]}")
            time.sleep(0.01)


def _started(scene: Scene, job: Job, share: float, *, finish: bool = False) -> Start:
    scene.origin.begin(1)
    launch = modelferry().launch(job)
    began, clock = time.time(), time.monotonic()
    with _Running(scene, job, launch) as (group, fetch):
        if not _await(lambda: _written(fetch) > _CONTENT, clock + _LIMIT):
            raise RuntimeError(f"no content came: {(job.scratch / 'log').read_text()[-500:]}")
        to_byte = time.monotonic() - clock
        if finish and not group.wait(fetch, clock + _LIMIT):
            raise RuntimeError("the resumed download did not end")
    served = scene.origin.served()
    if served.began is None:
        raise RuntimeError(f"no request came: {(job.scratch / 'log').read_text()[-500:]}")
    return Start(served.began - began, to_byte, share)


class _Running:
    """Both agents, killed at the end."""

    def __init__(self, scene: Scene, job: Job, launch: Launch) -> None:
        self._launch = launch
        self._log = (job.scratch / "log").open("ab")
        self._group = Group(job.env(), job.scratch, self._log.fileno(), scene.prefix)

    def __enter__(self) -> tuple[Group, int]:
        for sidecar in self._launch.sidecars:
            self._group.start(sidecar)
        return self._group, self._group.start(self._launch.main)

    def __exit__(self, *_: object) -> None:
        self._group.kill()
        self._log.close()


def _written(pid: int) -> int:
    """Bytes that a process has written to files; what goes into sockets by send() does not count."""
    with suppress(OSError):
        return written_in(Path(f"/proc/{pid}/io").read_text())
    return 0


def written_in(text: str) -> int:
    """``wchar`` in the text of /proc/PID/io."""
    return int(dict(line.split(": ") for line in text.splitlines())["wchar"])


def _await(true: Callable[[], bool], deadline: float) -> bool:
    while time.monotonic() < deadline:
        if true():
            return True
        time.sleep(0.001)
    return False


def _shown(start: Start) -> str:
    return f"{start.request:.3f} s to the first request, {start.byte:.3f} s to the first byte ({start.share:.0%} there)"


def rows_of(name: str, found: Sequence[Start]) -> list[Row]:
    """A row for each of the two times."""
    times = {FIRST_REQUEST: [start.request for start in found], FIRST_BYTE: [start.byte for start in found]}
    return [Row(f"{name}: {what}", OURS, len(found), Spread.of(seconds)) for what, seconds in times.items()]
