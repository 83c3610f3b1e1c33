"""The two agents of a download pod as child processes of ``pull``: started, watched, restarted, and always ended."""

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

#: Deaths by a signal in a row, without a byte more on the disk between them, after which it is not tried again.
MOST_DEATHS = 3

#: Seconds that an agent has for ending on SIGTERM, before SIGKILL. Its state survives either.
_GRACE = 10.0
_TERMINATED = 128 + signal.SIGTERM
_TAIL = 4000


class Interrupted(Exception):
    """SIGINT, SIGTERM or SIGHUP; everything has been ended. ``progress`` is where it stood, None before the start."""

    def __init__(self, progress: Progress | None) -> None:
        super().__init__()
        self.progress = progress


@dataclass(frozen=True, slots=True)
class Ended:
    """An agent's process is gone; ``code`` is negative for a signal."""

    role: str
    code: int


@dataclass(frozen=True, slots=True)
class Interrupt:
    """A signal asked this process to end."""


Events = SimpleQueue[Ended | Interrupt]


@dataclass(frozen=True, slots=True)
class RestartBudget:
    """Deaths by a signal, counted from the last one before which the download had come further."""

    count: int = 0
    done: int = -1

    def another(self, done: int) -> RestartBudget:
        """One more, with `done` bytes on the disk."""
        return RestartBudget(1 if done > self.done else self.count + 1, max(done, self.done))


class Supervisor:
    """``fetch`` and ``checkpoint``. `commands` are their arguments by role; `run` is a directory for their logs."""

    def __init__(self, commands: Mapping[str, Sequence[str]], run: Path) -> None:
        self._commands, self._run = commands, run
        self._events: Events = SimpleQueue()
        self._pids: dict[str, int] = {}
        self._peaks: dict[str, int] = {}
        self._deaths = RestartBudget()
        self._progress: Progress | None = None

    def work(self, ask: Callable[[], Progress | None], show: Callable[[Progress], None], interval: float) -> int:
        """Run until ``fetch`` has ended by itself, and return its exit code.

        Every `interval` seconds what `ask` answers is given to `show`. Raises Interrupted, and MachineError where an
        agent keeps dying. No process is left behind, however it ends.
        """
        with _signals_to(self._events):
            try:
                for role in (CHECKPOINT, FETCH):
                    self._start(role)
                return self._watch(ask, show, interval)
            finally:
                for role in (FETCH, CHECKPOINT):
                    self._end(role)

    def peak(self, role: str) -> int:
        """Peak memory of `role` in bytes, over all its lives that ended in peace; 0 where there was none."""
        return self._peaks.get(role, 0)

    def log(self, role: str) -> str:
        """The end of what `role` printed."""
        with suppress(OSError):
            return self._log(role).read_text(errors="replace")[-_TAIL:].strip()
        return ""

    def _watch(self, ask: Callable[[], Progress | None], show: Callable[[Progress], None], interval: float) -> int:
        while True:
            match self._next(interval):
                case Interrupt():
                    raise Interrupted(self._progress)
                case Ended(role, code) if code < 0:
                    self._died(role, code)
                case Ended(role, code) if role == FETCH and code != _TERMINATED:
                    self._look(ask, show)
                    return code
                case Ended(_, code) if code in (0, _TERMINATED):
                    # Whoever ended one of them (a service manager, a shutdown) means us all.
                    raise Interrupted(self._progress)
                case Ended(role, code):
                    raise MachineError(f"the {role} ended with exit code {code}: {self.log(role)}")
                case None:
                    self._look(ask, show)

    def _look(self, ask: Callable[[], Progress | None], show: Callable[[Progress], None]) -> None:
        if (progress := ask()) is not None:
            self._progress = progress
            show(progress)

    def _died(self, role: str, code: int) -> None:
        self._deaths = self._deaths.another(self._progress.done if self._progress else 0)
        if self._deaths.count > MOST_DEATHS:
            raise MachineError(
                f"{role} was ended by {signal.Signals(-code).name} {self._deaths.count} times without getting further; "
                "see whether the machine is short of memory, then run the same command again",
                reason="Killed",
            )
        self._start(role)

    def _start(self, role: str) -> None:
        peak = self._run / f"{role}.peak"
        # -P: a file in the current directory is not taken for one of our modules.
        child = [sys.executable, "-P", "-m", "modelferry.cli.child_process", str(peak), str(os.getpid())]
        with self._log(role).open("ab") as log:
            process = subprocess.Popen(
                [*child, *self._commands[role]], stdin=subprocess.DEVNULL, stdout=log, stderr=log
            )
        self._pids[role] = process.pid
        threading.Thread(target=self._reap, args=(role, process), name=f"wait for {role}", daemon=True).start()

    def _reap(self, role: str, process: subprocess.Popen[bytes]) -> None:
        self._events.put(Ended(role, process.wait()))

    def _next(self, timeout: float) -> Ended | Interrupt | None:
        try:
            event = self._events.get(timeout=timeout)
        except Empty:
            return None
        if isinstance(event, Ended):
            del self._pids[event.role]
            with suppress(OSError, ValueError):
                peak = int((self._run / f"{event.role}.peak").read_text())
                self._peaks[event.role] = max(peak, self.peak(event.role))
        return event

    def _end(self, role: str) -> None:
        """Ask it to end; a second Ctrl-C, or the grace period's end, makes it."""
        deadline = time.monotonic() + _GRACE
        self._send(role, signal.SIGTERM)
        while role in self._pids and (left := deadline - time.monotonic()) > 0:
            if isinstance(self._next(left), Interrupt):
                break
        self._send(role, signal.SIGKILL)
        while role in self._pids:
            self._next(_GRACE)

    def _send(self, role: str, number: signal.Signals) -> None:
        if role in self._pids:
            with suppress(ProcessLookupError):
                os.kill(self._pids[role], number)

    def _log(self, role: str) -> Path:
        return self._run / f"{role}.log"


@contextmanager
def _signals_to(events: Events) -> Iterator[None]:
    """While inside, signals become events. Those that the caller ignores (nohup, a shell's background) stay ignored."""
    asked = [s for s in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP) if signal.getsignal(s) is not signal.SIG_IGN]
    # SimpleQueue.put is the one that may be called in a signal handler.
    before = {number: signal.signal(number, lambda *_: events.put(Interrupt())) for number in asked}
    try:
        yield
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)
