"""A long-running program of a cluster, in a cgroup of its own, by which its processes can be found and killed."""

from __future__ import annotations

import subprocess
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path

from .cgroups import Group
from .shell import ClusterError, Word, wait_until

LOG_SHOWN = 10  # lines of the log in the error of a program that ended


@dataclass
class Daemon:
    """A program that runs in `group`, with its output appended to `log`."""

    group: Group
    log: Path
    _process: subprocess.Popen[bytes] | None = field(default=None, repr=False)

    def start(self, argv: Sequence[Word]) -> None:
        """Starts the program and returns when it is in its cgroup."""
        command = [str(word) for word in self.group.joining(argv)]
        with self.log.open("ab") as log:
            # A session of its own, so that only the test runner handles Ctrl-C.
            self._process = subprocess.Popen(
                command, stdin=subprocess.DEVNULL, stdout=log, stderr=log, start_new_session=True
            )
        wait_until(f"the start of {self.group.path}", lambda: bool(self.group.pids()) or self._ended())

    def stop(self) -> None:
        """Kills the program and its descendants with SIGKILL."""
        self.group.kill()
        self.reap()

    def reap(self) -> None:
        """Waits for the killed process if it is a child of this one (another process may have created the cluster)."""
        if self._process:
            self._process.wait()
            self._process = None

    def check(self) -> None:
        """Raises ClusterError with the end of the log if the program does not run."""
        if not self.group.pids():
            tail = "\n".join(self.log.read_text(errors="replace").splitlines()[-LOG_SHOWN:])
            raise ClusterError(f"{self.group.path} ended; the end of {self.log}:\n{tail}")

    def _ended(self) -> bool:
        return self._process is not None and self._process.poll() is not None
