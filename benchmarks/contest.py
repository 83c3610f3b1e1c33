"""A contest: all tools in turn fetch the same files over the same line, round by round."""

from __future__ import annotations

import os
import shutil
import sys
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path

from benchmarks import origins
from benchmarks.links import LOOPBACK, Line, Link, opened
from benchmarks.measure import Usage, run
from benchmarks.origins import Faults, Origin, Served
from benchmarks.payload import Files, Made, make
from benchmarks.probe import carried
from benchmarks.stats import OURS, Run
from benchmarks.tools import Job, Tool, checked
from origin.certs import Authority, Leaf

#: Seconds for sha256sum, and bytes of a tool's last words that are kept.
_CHECK_LIMIT, _WORDS = 300.0, 200
#: Seconds after which Modelferry is stopped, wherever the others are stopped sooner.
_PATIENCE = 120.0


@dataclass(frozen=True, slots=True)
class Setting:
    """What is fetched, from where, over what. ``rate``: bytes per second of each answer; ``limit``: seconds after
    which another tool is stopped; Modelferry has `_PATIENCE`."""

    files: Files
    line: Line = LOOPBACK
    tls: bool = True
    rate: int | None = None
    faults: Faults | None = None
    limit: float = 600.0


@dataclass(frozen=True, slots=True)
class Scene:
    """A setting that stands: the origin serves ``files``; commands run behind ``prefix``. ``carried``:
    bytes of content per second that a probe found the line to carry, 0 on loopback."""

    setting: Setting
    files: tuple[Made, ...]
    origin: Origin
    prefix: tuple[str, ...]
    ca_file: Path | None
    work: Path
    python: Path
    carried: float = 0.0

    @property
    def target(self) -> Path:
        """Where tools write to."""
        return self.work / "target"

    @property
    def scratch(self) -> Path:
        """Where they get their lists, and what they print is kept."""
        return self.work / "scratch"

    def job(self) -> Job:
        """The job, with an empty target and an empty scratch directory."""
        self.clear()
        for directory in (self.target, self.scratch):
            directory.mkdir()
        return Job(self.files, self.origin.base, self.target, self.scratch, self.ca_file, self.python)

    def clear(self) -> None:
        """Remove what was fetched, and let the disk come to rest."""
        for directory in (self.target, self.scratch):
            shutil.rmtree(directory, ignore_errors=True)
        os.sync()


@contextmanager
def staged(setting: Setting, work: Path, python: Path) -> Iterator[Scene]:
    """Make the files, have line and origin up."""
    root, about = work / "origin", work / "about"
    try:
        for directory in (root, about):
            directory.mkdir()
        files = make(root, setting.files)
        authority = Authority(about)
        with opened(setting.line) as link:
            found = carried(link, setting.line) if setting.line.kind != "loopback" else 0.0
            leaf = authority.leaf(link.host) if setting.tls else None
            with _origin(setting, root, about, leaf, link) as origin:
                ca_file = authority.ca_file if setting.tls else None
                yield Scene(setting, files, origin, link.client, ca_file, work, python, found)
    finally:
        for name in ("origin", "about", "target", "scratch"):
            shutil.rmtree(work / name, ignore_errors=True)


@contextmanager
def _origin(setting: Setting, root: Path, about: Path, leaf: Leaf | None, link: Link) -> Iterator[Origin]:
    if setting.faults is not None:
        assert leaf is not None
        with origins.hostile(root, leaf, link, setting.faults, about) as origin:
            yield origin
        return
    workers = len(os.sched_getaffinity(0))
    with origins.nginx(root, leaf, link, workers, setting.rate, about) as origin:
        yield origin


def held(scene: Scene, tools: Sequence[Tool], rounds: int, ours: int) -> list[Run]:
    """`rounds` rounds of all `tools`, and as many more of Modelferry alone as make `ours`."""
    runs = []
    for number in range(1, max(rounds, ours) + 1):
        for tool in turned(tools, number - 1):
            if number <= (ours if tool.name.startswith(OURS) else rounds):
                runs.append(_one(scene, tool, number))
                tell(f"  round {number}, {_shown(runs[-1])}")
    return sorted(runs, key=lambda run: [tool.name for tool in tools].index(run.tool))


def turned(tools: Sequence[Tool], by: int) -> list[Tool]:
    """Another one begins each round."""
    by %= len(tools)
    return [*tools[by:], *tools[:by]]


def _one(scene: Scene, tool: Tool, number: int) -> Run:
    job = scene.job()
    launch = tool.launch(job)
    scene.origin.begin(number)
    log = scene.scratch / "log"
    limit = max(scene.setting.limit, _PATIENCE) if tool.name.startswith(OURS) else scene.setting.limit
    usage = run(launch, env=job.env(), cwd=scene.scratch, log=log, limit=limit, prefix=scene.prefix)
    served = scene.origin.served()
    done = _run_of(tool.name, number, usage, served)
    if done.ended == "ok":
        check = run(
            checked(job),
            env=job.env(),
            cwd=job.target / tool.root,
            log=scene.scratch / "check",
            limit=_CHECK_LIMIT,
        )
        done = replace(done, check_seconds=check.seconds, check_cpu=check.cpu)
        if check.code != 0:
            done = replace(done, ended="wrong", note=last_words(check.said))
    scene.clear()
    return done


def _run_of(tool: str, number: int, usage: Usage, served: Served) -> Run:
    ended = "unfinished" if usage.code is None else "ok" if usage.code == 0 else "failed"
    return Run(
        tool=tool,
        round=number,
        ended=ended,
        seconds=usage.seconds,
        cpu=usage.cpu,
        rss=usage.rss,
        peaks=usage.peaks,
        served=served.bytes,
        requests=served.requests,
        note=f"exit code {usage.code}: {last_words(usage.said)}" if ended == "failed" else "",
    )


def last_words(said: str) -> str:
    """What a tool `said` last, which is what went wrong. What comes before may name the machine's own paths."""
    return (said.strip().splitlines() or [""])[-1][-_WORDS:]


def _shown(run: Run) -> str:
    return f"{run.tool}: {run.seconds:.2f} s, {run.rss / 2**20:.0f} MiB, {run.ended} {run.note}".strip()


def tell(text: str) -> None:
    """A line about what goes on, for who watches."""
    print(text, file=sys.stderr, flush=True)
