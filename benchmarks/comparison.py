"""A comparison: all tools in turn download the same files over the same network path, round by round."""

from __future__ import annotations

import os
import shutil
import sys
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path

from benchmarks import origins
from benchmarks.measure import Usage, run
from benchmarks.network_path import LOOPBACK, Endpoints, NetworkPath, established
from benchmarks.origins import ErrorRates, Origin, Served
from benchmarks.payload import FileSet, GeneratedFile, generate
from benchmarks.probe import measured_rate
from benchmarks.stats import OURS, Run
from benchmarks.tools import Job, Tool, sha256sum
from origin.certs import Authority, Leaf

#: The time limit of sha256sum in seconds, and the bytes of a tool's last message that are kept.
_CHECK_TIMEOUT, _MESSAGE_SIZE = 300.0, 200
#: Modelferry's time limit in seconds, in scenarios with a shorter limit for the other tools.
_OUR_TIMEOUT = 120.0


@dataclass(frozen=True, slots=True)
class Workload:
    """The files to download, the origin and the network path. ``rate``: bytes per second of each response;
    ``timeout``: seconds after which another tool is stopped; Modelferry has at least `_OUR_TIMEOUT`."""

    files: FileSet
    path: NetworkPath = LOOPBACK
    tls: bool = True
    rate: int | None = None
    errors: ErrorRates | None = None
    timeout: float = 600.0


@dataclass(frozen=True, slots=True)
class Testbed:
    """A workload that is set up: the origin serves ``files``, and ``prefix`` runs a command at the client's end.

    ``measured_rate``: bytes of content per second that a probe measured on the path, 0 on loopback.
    """

    workload: Workload
    files: tuple[GeneratedFile, ...]
    origin: Origin
    prefix: tuple[str, ...]
    ca_file: Path | None
    work: Path
    python: Path
    measured_rate: float = 0.0

    @property
    def target(self) -> Path:
        """The directory that the tools write to."""
        return self.work / "target"

    @property
    def scratch(self) -> Path:
        """The directory of the tools' input files and of their output."""
        return self.work / "scratch"

    def job(self) -> Job:
        """A job with an empty target and an empty scratch directory."""
        self.clear()
        for directory in (self.target, self.scratch):
            directory.mkdir()
        return Job(self.files, self.origin.base, self.target, self.scratch, self.ca_file, self.python)

    def clear(self) -> None:
        """Delete what was downloaded, and wait until the disk is idle."""
        for directory in (self.target, self.scratch):
            shutil.rmtree(directory, ignore_errors=True)
        os.sync()


@contextmanager
def testbed(workload: Workload, work: Path, python: Path) -> Iterator[Testbed]:
    """Generate the files, and set up the network path and the origin."""
    root, config = work / "origin", work / "config"
    try:
        for directory in (root, config):
            directory.mkdir()
        files = generate(root, workload.files)
        authority = Authority(config)
        with established(workload.path) as endpoints:
            rate = measured_rate(endpoints, workload.path) if workload.path.kind != "loopback" else 0.0
            leaf = authority.leaf(endpoints.host) if workload.tls else None
            with _origin(workload, root, config, leaf, endpoints) as origin:
                ca_file = authority.ca_file if workload.tls else None
                yield Testbed(workload, files, origin, endpoints.client, ca_file, work, python, rate)
    finally:
        for name in ("origin", "config", "target", "scratch"):
            shutil.rmtree(work / name, ignore_errors=True)


@contextmanager
def _origin(workload: Workload, root: Path, config: Path, leaf: Leaf | None, endpoints: Endpoints) -> Iterator[Origin]:
    if workload.errors is not None:
        assert leaf is not None
        with origins.hostile(root, leaf, endpoints, workload.errors, config) as origin:
            yield origin
        return
    workers = len(os.sched_getaffinity(0))
    with origins.nginx(root, leaf, endpoints, workers, workload.rate, config) as origin:
        yield origin


def compare(testbed: Testbed, tools: Sequence[Tool], rounds: int, our_rounds: int) -> list[Run]:
    """`rounds` rounds of all `tools`, and then rounds of Modelferry alone until it has `our_rounds`."""
    runs = []
    for number in range(1, max(rounds, our_rounds) + 1):
        for tool in rotated(tools, number - 1):
            if number <= (our_rounds if tool.name.startswith(OURS) else rounds):
                runs.append(_run_tool(testbed, tool, number))
                log(f"  round {number}, {_summary(runs[-1])}")
    return sorted(runs, key=lambda run: [tool.name for tool in tools].index(run.tool))


def rotated(tools: Sequence[Tool], by: int) -> list[Tool]:
    """`tools` in another order each round, so that each of them is first at some time."""
    by %= len(tools)
    return [*tools[by:], *tools[:by]]


def _run_tool(testbed: Testbed, tool: Tool, number: int) -> Run:
    job = testbed.job()
    launch = tool.launch(job)
    testbed.origin.begin(number)
    output = testbed.scratch / "log"
    timeout = testbed.workload.timeout
    if tool.name.startswith(OURS):
        timeout = max(timeout, _OUR_TIMEOUT)
    usage = run(launch, env=job.env(), cwd=testbed.scratch, log=output, timeout=timeout, prefix=testbed.prefix)
    result = _result(tool.name, number, usage, testbed.origin.served())
    if result.ended == "ok":
        check = run(
            sha256sum(job),
            env=job.env(),
            cwd=job.target / tool.root,
            log=testbed.scratch / "check",
            timeout=_CHECK_TIMEOUT,
        )
        result = replace(result, check_seconds=check.seconds, check_cpu=check.cpu)
        if check.code != 0:
            result = replace(result, ended="wrong", note=last_line(check.output))
    testbed.clear()
    return result


def _result(tool: str, number: int, usage: Usage, served: Served) -> Run:
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
        note=f"exit code {usage.code}: {last_line(usage.output)}" if ended == "failed" else "",
    )


def last_line(output: str) -> str:
    """The last line of a tool's `output`, which names the error. Earlier lines may contain paths of this machine."""
    return (output.strip().splitlines() or [""])[-1][-_MESSAGE_SIZE:]


def _summary(run: Run) -> str:
    return f"{run.tool}: {run.seconds:.2f} s, {run.rss / 2**20:.0f} MiB, {run.ended} {run.note}".strip()


def log(text: str) -> None:
    """Print a line of progress on stderr."""
    print(text, file=sys.stderr, flush=True)
