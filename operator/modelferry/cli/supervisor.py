"""Runs the two agents of a download pod as child processes of ``pull``: starts, watches, restarts and stops them."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from queue import Empty, SimpleQueue

from modelferry.errors import MachineError
from modelferry.messages import Progress

FETCH, CHECKPOINT = "fetch", "checkpoint"

#: Restarts in a row after an agent was killed by a signal, without progress on the disk between them.
MAX_RESTARTS = 3

#: Seconds between SIGTERM and SIGKILL. The state on the disk survives both.
_GRACE_PERIOD = 10.0
_TERMINATED = 128 + signal.SIGTERM
#: Characters of a log that an error message shows.
_LOG_TAIL = 4000


class Interrupted(Exception):
    """A SIGINT, SIGTERM or SIGHUP arrived, and the agents were stopped. ``progress`` is the last one known, or None."""

    def __init__(self, progress: Progress | None) -> None:
        super().__init__()
        self.progress = progress


@dataclass(frozen=True, slots=True)
class ProcessExited:
    """The process of the agent `role` exited. ``code`` is negative for a signal."""

    role: str
    code: int


@dataclass(frozen=True, slots=True)
class InterruptReceived:
    """This process received a signal to stop."""


Events = SimpleQueue[ProcessExited | InterruptReceived]


@dataclass(frozen=True, slots=True)
class RestartBudget:
    """``kills``: how often agents were killed since the last progress. ``done``: bytes on the disk by then."""

    kills: int = 0
    done: int = -1

    def after_kill(self, done: int) -> RestartBudget:
        """After one more kill, with `done` bytes on the disk."""
        return RestartBudget(1 if done > self.done else self.kills + 1, max(done, self.done))


class Supervisor:
    """Supervises ``fetch`` and ``checkpoint``. `commands`: arguments by role; `run`: the directory for logs."""

    def __init__(self, commands: Mapping[str, Sequence[str]], run: Path) -> None:
        self._commands, self._run = commands, run
        self._events: Events = SimpleQueue()
        self._pids: dict[str, int] = {}
        self._peaks: dict[str, int] = {}
        self._budget = RestartBudget()
        self._progress: Progress | None = None

    def run(self, poll: Callable[[], Progress | None], show: Callable[[Progress], None], interval: float) -> int:
        """Run the agents until ``fetch`` exits by itself, and return its exit code.

        Every `interval` seconds, `show` gets the progress that `poll` returns. Raises Interrupted, and MachineError if
        an agent is killed repeatedly. All agents are stopped in any case.
        """
        with _signals_as_events(self._events):
            try:
                for role in (CHECKPOINT, FETCH):
                    self._start(role)
                return self._watch(poll, show, interval)
            finally:
                for role in (FETCH, CHECKPOINT):
                    self._stop(role)

    def peak(self, role: str) -> int:
        """The peak memory of `role` in bytes, over its processes that were not killed; 0 if there was none."""
        return self._peaks.get(role, 0)

    def log(self, role: str) -> str:
        """The end of the log of `role`."""
        with suppress(OSError):
            return self._log(role).read_text(errors="replace")[-_LOG_TAIL:].strip()
        return ""

    def _watch(self, poll: Callable[[], Progress | None], show: Callable[[Progress], None], interval: float) -> int:
        while True:
            match self._next_event(interval):
                case InterruptReceived():
                    raise Interrupted(self._progress)
                case ProcessExited(role, code) if code < 0:
                    self._restart_killed(role, code)
                case ProcessExited(role, code) if role == FETCH and code != _TERMINATED:
                    self._update_progress(poll, show)
                    return code
                case ProcessExited(_, code) if code in (0, _TERMINATED):
                    # What stopped one of them (a service manager, a shutdown) stops all.
                    raise Interrupted(self._progress)
                case ProcessExited(role, code):
                    raise MachineError(f"{role} ended with exit code {code}: {self.log(role)}")
                case None:
                    self._update_progress(poll, show)

    def _update_progress(self, poll: Callable[[], Progress | None], show: Callable[[Progress], None]) -> None:
        if (progress := poll()) is not None:
            self._progress = progress
            show(progress)

    def _restart_killed(self, role: str, code: int) -> None:
        self._budget = self._budget.after_kill(self._progress.done if self._progress else 0)
        if self._budget.kills > MAX_RESTARTS:
            raise MachineError(
                f"{role} was killed by {signal.Signals(-code).name} {self._budget.kills} times without progress;"
                " check whether the machine is short of memory, then run the same command again",
                reason="Killed",
            )
        self._start(role)

    def _start(self, role: str) -> None:
        peak = self._run / f"{role}.peak"
        # -P: do not import modules from the current directory.
        child = [sys.executable, "-P", "-m", "modelferry.cli.child_process", str(peak), str(os.getpid())]
        with self._log(role).open("ab") as log:
            process = subprocess.Popen(
                [*child, *self._commands[role]], stdin=subprocess.DEVNULL, stdout=log, stderr=log
            )
        self._pids[role] = process.pid
        threading.Thread(target=self._reap, args=(role, process), name=f"wait for {role}", daemon=True).start()

    def _reap(self, role: str, process: subprocess.Popen[bytes]) -> None:
        self._events.put(ProcessExited(role, process.wait()))

    def _next_event(self, timeout: float) -> ProcessExited | InterruptReceived | None:
        try:
            event = self._events.get(timeout=timeout)
        except Empty:
            return None
        if isinstance(event, ProcessExited):
            del self._pids[event.role]
            with suppress(OSError, ValueError):
                peak = int((self._run / f"{event.role}.peak").read_text())
                self._peaks[event.role] = max(peak, self.peak(event.role))
        return event

    def _stop(self, role: str) -> None:
        """Send SIGTERM, and SIGKILL after the grace period or a second Ctrl-C."""
        deadline = time.monotonic() + _GRACE_PERIOD
        self._send(role, signal.SIGTERM)
        while role in self._pids and (left := deadline - time.monotonic()) > 0:
            if isinstance(self._next_event(left), InterruptReceived):
                break
        self._send(role, signal.SIGKILL)
        while role in self._pids:
            self._next_event(_GRACE_PERIOD)

    def _send(self, role: str, number: signal.Signals) -> None:
        if role in self._pids:
            with suppress(ProcessLookupError):
                os.kill(self._pids[role], number)

    def _log(self, role: str) -> Path:
        return self._run / f"{role}.log"


@contextmanager
def _signals_as_events(events: Events) -> Iterator[None]:
    """Turn signals into events. Signals that the caller ignores (nohup, a background job) stay ignored."""
    handled = [s for s in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP) if signal.getsignal(s) is not signal.SIG_IGN]
    # SimpleQueue.put is reentrant, so a signal handler may call it.
    before = {number: signal.signal(number, lambda *_: events.put(InterruptReceived())) for number in handled}
    try:
        yield
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)
