"""Reads docs/metrics.md, and checks exported metrics with promtool."""

from __future__ import annotations

import re
import shutil
import subprocess
from pathlib import Path

import pytest

PAGE = Path(__file__).parents[1] / "docs" / "metrics.md"
DOWNLOAD, OPERATOR = "Of a download", "Of the operator"


def documented(heading: str) -> list[tuple[str, str, tuple[str, ...], str]]:
    """The table below a heading: name, type, labels and help of each metric."""
    section = PAGE.read_text().split(f"## {heading}\n", 1)[1].split("\n## ", 1)[0]
    rows = re.findall(r"^\| `(\w+)` \| (\w+) \| (.*?) ?\| (.*) \|$", section, re.MULTILINE)
    return [(name, kind, tuple(re.findall(r"`(\w+)`", labels)), help_) for name, kind, labels, help_ in rows]


def exported(text: str) -> list[tuple[str, str]]:
    """The names and types in an exposition, in order."""
    return re.findall(r"^# TYPE (\w+) (\w+)$", text, re.MULTILINE)


def values(text: str) -> dict[str, float]:
    """The samples of an exposition, by name and labels."""
    lines = [line.rpartition(" ") for line in text.splitlines() if not line.startswith("#")]
    return {name: float(value) for name, _, value in lines}


def check(text: str) -> None:
    """Check an exposition with promtool."""
    tool = shutil.which("promtool")
    if tool is None:
        pytest.skip("promtool is not installed; run: apt-get install prometheus")
    checked = subprocess.run([tool, "check", "metrics"], input=text, capture_output=True, text=True, check=False)
    assert (checked.returncode, checked.stdout + checked.stderr) == (0, "")
