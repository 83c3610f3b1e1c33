"""A long-running program of a cluster, started in a cgroup of its own: so it can be found and ended for certain."""

from __future__ import annotations

import subprocess
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path

from .cgroups import Group
from .shell import ClusterError, Word, wait_until

LOG_SHOWN = 10  # lines of its log that the error of a program that ended quotes


@dataclass
class Daemon:
    """A program that runs in `group`, both its outputs appended to `log`."""

    group: Group
    log: Path
    _process: subprocess.Popen[bytes] | None = field(default=None, repr=False)

    def start(self, argv: Sequence[Word]) -> None:
        """Starts the program and returns when it is in its cgroup."""
        command = [str(word) for word in self.group.joining(argv)]
        with self.log.open("ab") as log:
            # A session of its own: Ctrl-C at the runner's terminal is the runner's to handle.
            self._process = subprocess.Popen(
                command, stdin=subprocess.DEVNULL, stdout=log, stderr=log, start_new_session=True
            )
        wait_until(f"the start of {self.group.path}", lambda: bool(self.group.pids()) or self._ended())

    def stop(self) -> None:
        """Kills the program and what it started, with SIGKILL."""
        self.group.kill()
        self.reap()

    def reap(self) -> None:
        """Lets go of the killed process, when it is a child of this one (a cluster can outlive who raised it)."""
        if self._process:
            self._process.wait()
            self._process = None

    def check(self) -> None:
        """Raises ClusterError with the end of the log when the program isn't running."""
        if not self.group.pids():
            tail = "\n".join(self.log.read_text(errors="replace").splitlines()[-LOG_SHOWN:])
            raise ClusterError(f"{self.group.path} ended; the end of {self.log}:\n{tail}")

    def _ended(self) -> bool:
        return self._process is not None and self._process.poll() is not None
