"""Runs commands and measures time, CPU time and memory.

- Time: from before the first process is started until the main process has ended.
- CPU: user and system seconds from ``wait4``, of each process and of all its children that it waited for.
- Memory: the resident memory (VmRSS) of all processes of the tree is summed every 25 ms; the largest sum is the peak.
  Pages that processes share count once for each of them. In addition, for each labelled process, the kernel's peak
  (VmHWM). ``ru_maxrss`` is not used, since it includes the memory of the process that forked.
"""

from __future__ import annotations

import os
import select
import signal
import subprocess
import time
from collections.abc import Iterable, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path

_INTERVAL = 0.025
#: Seconds between SIGTERM and SIGKILL for a sidecar.
_GRACE = 10.0


@dataclass(frozen=True, slots=True)
class Command:
    """A command line. ``label`` names its process in the measurements."""

    words: tuple[str, ...]
    label: str = ""


@dataclass(frozen=True, slots=True)
class Launch:
    """``main`` runs until it ends; the ``sidecars`` run beside it and are then terminated, as in a pod."""

    main: Command
    sidecars: tuple[Command, ...] = ()


@dataclass(frozen=True, slots=True)
class Usage:
    """What a launch used: ``seconds``, ``cpu`` seconds, ``rss`` and ``peaks`` in bytes (see above). ``code`` is the
    main process's exit code, None if it was stopped at the timeout; ``output`` is the end of all output."""

    code: int | None
    seconds: float
    cpu: float
    rss: int
    peaks: Mapping[str, int] = field(default_factory=dict)
    output: str = ""


def run(
    launch: Launch,
    *,
    env: Mapping[str, str],
    cwd: Path,
    log: Path,
    timeout: float,
    prefix: Sequence[str] = (),
) -> Usage:
    """Run `launch` for at most `timeout` seconds, with its output in `log`. No process remains."""
    with log.open("ab") as output:
        start = time.monotonic()
        group = Group(env, cwd, output.fileno(), prefix)
        try:
            for command in (*launch.sidecars, launch.main):
                main = group.start(command)
            ended = group.wait(main, start + timeout)
            seconds = time.monotonic() - start
            return group.finish(main if ended else None, seconds, log)
        finally:
            group.kill()


class Group:
    """Processes, with their descendants, that are measured together."""

    def __init__(self, env: Mapping[str, str], cwd: Path, output: int, prefix: Sequence[str] = ()) -> None:
        self._env, self._cwd, self._output = env, cwd, output
        # No tool outlives this process, even if this is killed.
        self._prefix = ["setpriv", "--pdeathsig", "KILL", "--", *prefix]
        self._processes: dict[int, subprocess.Popen[bytes]] = {}
        self._labels: dict[int, str] = {}
        self._peaks: dict[str, int] = {}
        self._rss = 0
        self._cpu = 0.0

    def start(self, command: Command) -> int:
        """Start `command`; returns the process ID."""
        process = subprocess.Popen(
            [*self._prefix, *command.words],
            stdin=subprocess.DEVNULL,
            stdout=self._output,
            stderr=self._output,
            env=dict(self._env),
            cwd=self._cwd,
            start_new_session=True,
        )
        self._processes[process.pid] = process
        if command.label:
            self._labels[process.pid] = command.label
        return process.pid

    def wait(self, main: int, deadline: float) -> bool:
        """Sample memory until `main` or, unexpectedly, a sidecar has ended (True), or until the clock reads `deadline`
        (False)."""
        with _ProcessWaiter(self.running) as waiter:
            while time.monotonic() < deadline:
                if waiter.wait(_INTERVAL):
                    return True
                self.sample()
        return False

    def finish(self, main: int | None, seconds: float, log: Path) -> Usage:
        """Stop the sidecars (all processes, if `main` is None), and return what was used."""
        code = None
        if main is not None:
            code = self._reap(main) if _has_ended(main) else -1
            for pid in self.running:
                self._terminate(pid)
        self.kill()
        output = log.read_text(errors="replace")[-2000:].strip()
        return Usage(code, seconds, self._cpu, self._rss, dict(self._peaks), output)

    @property
    def running(self) -> list[int]:
        """The IDs of processes that were started and not yet waited for."""
        return list(self._processes)

    def sample(self) -> None:
        """Record the memory that the processes use now."""
        total = 0
        for root in self.running:
            for pid in _tree(root):
                rss, peak = _memory(pid)
                total += rss
                if (label := self._labels.get(pid)) is not None:
                    self._peaks[label] = max(peak, self._peaks.get(label, 0))
        self._rss = max(self._rss, total)

    def kill(self) -> None:
        """Kill all processes that still run."""
        for pid in self.running:
            with suppress(ProcessLookupError):
                os.killpg(pid, signal.SIGKILL)
            self._reap(pid)

    def _terminate(self, pid: int) -> None:
        os.kill(pid, signal.SIGTERM)
        with _ProcessWaiter([pid]) as waiter:
            if not waiter.wait(_GRACE):
                os.killpg(pid, signal.SIGKILL)
        self._reap(pid)

    def _reap(self, pid: int) -> int:
        _, status, usage = os.wait4(pid, 0)
        self._cpu += usage.ru_utime + usage.ru_stime
        process = self._processes.pop(pid)
        process.returncode = os.waitstatus_to_exitcode(status)
        with suppress(ProcessLookupError):
            os.killpg(pid, signal.SIGKILL)  # remaining children
        return process.returncode


class _ProcessWaiter:
    """Waits until one of some processes ends."""

    def __init__(self, pids: Iterable[int]) -> None:
        self._descriptors = [os.pidfd_open(pid) for pid in pids]
        self._poll = select.poll()
        for descriptor in self._descriptors:
            self._poll.register(descriptor, select.POLLIN)

    def wait(self, timeout: float) -> bool:
        """Whether one has ended within `timeout` seconds."""
        return bool(self._poll.poll(timeout * 1000))

    def __enter__(self) -> _ProcessWaiter:
        return self

    def __exit__(self, *_: object) -> None:
        for descriptor in self._descriptors:
            os.close(descriptor)


def _has_ended(pid: int) -> bool:
    return os.waitid(os.P_PID, pid, os.WEXITED | os.WNOHANG | os.WNOWAIT) is not None


def _tree(root: int) -> list[int]:
    """`root` and its descendants."""
    found = [root]
    for pid in found:
        with suppress(OSError):
            for children in Path(f"/proc/{pid}/task").glob("*/children"):
                found += [int(word) for word in children.read_text().split()]
    return found


def _memory(pid: int) -> tuple[int, int]:
    """The resident memory of a process now and at its peak, in bytes; zeros if it has ended."""
    try:
        return memory_of(Path(f"/proc/{pid}/status").read_text())
    except OSError:
        return 0, 0


def memory_of(status: str) -> tuple[int, int]:
    """VmRSS and VmHWM in bytes, from the text of /proc/PID/status; zeros for a zombie."""
    fields = dict(line.split(":", 1) for line in status.splitlines() if ":" in line)
    rss, peak = (int(fields[name].split()[0]) * 1024 if name in fields else 0 for name in ("VmRSS", "VmHWM"))
    return rss, peak
