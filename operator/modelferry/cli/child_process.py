"""The process in which ``pull`` runs an agent: ``python -m modelferry.cli.child_process PEAK_FILE PARENT agent …``.

The agent is the same as in a pod. This process adds what Kubernetes does for a pod: it ends when its parent ends, only
the parent stops it (not the terminal's Ctrl-C), and it writes its peak memory to PEAK_FILE. (wait4's ru_maxrss is not
usable: it includes the parent's memory, from between fork and exec.)
"""

from __future__ import annotations

import ctypes
import os
import resource
import signal
import sys
from pathlib import Path

from modelferry.cli.main import main

_PR_SET_PDEATHSIG = 1


def run(peak_file: Path, parent: int, argv: list[str]) -> int:
    """Run the command `argv` as a child of process `parent`, and return its exit code. Write its peak memory in bytes
    to `peak_file`."""
    # Blocked instead of ignored: the agent installs a handler, which would undo SIG_IGN.
    signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGINT})
    _end_with_parent(parent)
    try:
        return main(argv)
    finally:
        peak_file.write_text(str(_peak_memory()))


def _end_with_parent(parent: int) -> None:
    if sys.platform != "linux":
        return
    ctypes.CDLL(None).prctl(_PR_SET_PDEATHSIG, signal.SIGTERM)
    if os.getppid() != parent:
        raise SystemExit(128 + signal.SIGTERM)  # the parent ended before the call


def _peak_memory() -> int:
    try:
        status = Path("/proc/self/status").read_text()
    except OSError:
        return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return int(status.partition("VmHWM:")[2].split()[0]) * 1024


if __name__ == "__main__":
    sys.exit(run(Path(sys.argv[1]), int(sys.argv[2]), sys.argv[3:]))
