"""``modelferry agent remove``: remove an artifact's directory from a node. Runs as root, like ``prepare``."""

from __future__ import annotations

import argparse
from pathlib import Path

from modelferry.agent.directories import parse_path, remove_directory
from modelferry.agent.outcome_file import add_outcome_argument, run_and_write_outcome
from modelferry.agent.prepare import add_directory_arguments
from modelferry.messages import Outcome


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the command's arguments."""
    add_directory_arguments(parser)
    add_outcome_argument(parser)


def main(args: argparse.Namespace) -> int:
    """Run the command. Returns the exit code, or raises ModelferryError."""
    return run_and_write_outcome(args.outcome, lambda: _remove(args.root, args.path))


def _remove(root: Path, path: str) -> Outcome:
    namespace, name = parse_path(path)
    remove_directory(root, namespace, name)
    return Outcome(True)
