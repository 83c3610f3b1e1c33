"""Writes an agent's Outcome to its outcome file, which is the container's termination message."""

from __future__ import annotations

import argparse
from collections.abc import Callable
from pathlib import Path

from modelferry.errors import ModelferryError
from modelferry.messages import Outcome


def add_outcome_argument(parser: argparse.ArgumentParser) -> None:
    """Declare ``--outcome``."""
    parser.add_argument(
        "--outcome", type=Path, required=True, metavar="PATH", help="write the result there (/dev/termination-log)"
    )


def run_and_write_outcome(path: Path, work: Callable[[], Outcome]) -> int:
    """Call `work`, write its outcome to `path` and return 0. A ModelferryError is written too, and raised again."""
    try:
        outcome = work()
    except ModelferryError as error:
        write_outcome(Outcome.from_error(error), path)
        raise
    write_outcome(outcome, path)
    return 0


def write_outcome(outcome: Outcome, path: Path) -> None:
    """Write `outcome` to `path` in place: the kubelet mounts this one file, so it cannot be replaced by a rename."""
    path.write_text(outcome.encode())
