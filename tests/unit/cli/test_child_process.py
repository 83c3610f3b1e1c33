"""An agent as a child process of ``pull``."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest


def child(peak: Path, parent: int, *words: str) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-m", "modelferry.cli.child_process", str(peak), str(parent), *words]
    return subprocess.run(command, capture_output=True, text=True)


def test_a_child_leaves_its_peak_memory_and_its_exit_code(tmp_path: Path) -> None:
    peak = tmp_path / "peak"
    done = child(peak, os.getpid(), "wait", str(tmp_path), "--timeout", "0")
    assert (done.returncode, done.stdout) == (4, "")
    assert 5 << 20 < int(peak.read_text()) < 200 << 20


@pytest.mark.skipif(sys.platform != "linux", reason="only Linux ties a child to its parent")
def test_a_child_whose_parent_is_gone_ends(tmp_path: Path) -> None:
    assert child(tmp_path / "peak", 1, "wait", str(tmp_path)).returncode == 143
