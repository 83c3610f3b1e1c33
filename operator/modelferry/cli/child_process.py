"""How ``pull`` starts an agent: ``python -m modelferry.cli.child_process PEAK PARENT agent …``.

The agent is the very one that a pod runs. Around it stands what Kubernetes does for a pod: it ends with the process
that started it, is stopped by that process and not by the terminal's Ctrl-C, and leaves its peak memory in PEAK.
(wait4's ru_maxrss would not do: it counts the parent's memory too, from between fork and exec.)
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


def run(peak: Path, parent: int, words: list[str]) -> int:
    """Run the command in `words` as a child of process `parent`, leave its peak in bytes at `peak`, return its code."""
    # Blocked, not ignored: a handler that the agent installs for itself would undo that.
    signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGINT})
    _end_with(parent)
    try:
        return main(words)
    finally:
        peak.write_text(str(_peak_memory()))


def _end_with(parent: int) -> None:
    if sys.platform != "linux":
        return
    ctypes.CDLL(None).prctl(_PR_SET_PDEATHSIG, signal.SIGTERM)
    if os.getppid() != parent:
        raise SystemExit(128 + signal.SIGTERM)  # it died before we asked


def _peak_memory() -> int:
    try:
        status = Path("/proc/self/status").read_text()
    except OSError:
        return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return int(status.partition("VmHWM:")[2].split()[0]) * 1024


if __name__ == "__main__":
    sys.exit(run(Path(sys.argv[1]), int(sys.argv[2]), sys.argv[3:]))
