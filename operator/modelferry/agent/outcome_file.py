"""How an agent ends: its Outcome goes to the termination message, its error on to the command that prints it."""

from __future__ import annotations

import argparse
from collections.abc import Callable
from pathlib import Path

from modelferry.errors import ModelferryError
from modelferry.messages import Outcome


def add_outcome(parser: argparse.ArgumentParser) -> None:
    """Declare ``--outcome``."""
    parser.add_argument(
        "--outcome", type=Path, required=True, metavar="PATH", help="where to leave the result (/dev/termination-log)"
    )


def ended(outcome: Path, work: Callable[[], Outcome]) -> int:
    """Do `work`, leave its result at `outcome` and return 0. A ModelferryError is left there too, and raised again."""
    try:
        result = work()
    except ModelferryError as error:
        leave(Outcome.of(error), outcome)
        raise
    leave(result, outcome)
    return 0


def leave(result: Outcome, outcome: Path) -> None:
    """Write in place, not by rename: the kubelet mounts this one file into the container."""
    outcome.write_text(result.encode())
