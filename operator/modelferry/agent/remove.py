"""``modelferry agent remove``: remove an artifact's directory from a node. Runs as root, as ``prepare``."""

from __future__ import annotations

import argparse
from pathlib import Path

from modelferry.agent.directories import parse_path, remove
from modelferry.agent.outcome_file import add_outcome, ended
from modelferry.agent.prepare import add_location
from modelferry.messages import Outcome


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the command's arguments."""
    add_location(parser)
    add_outcome(parser)


def main(args: argparse.Namespace) -> int:
    """Run; returns the exit code or raises ModelferryError."""
    return ended(args.outcome, lambda: _remove(args.root, args.path))


def _remove(root: Path, path: str) -> Outcome:
    namespace, name = parse_path(path)
    remove(root, namespace, name)
    return Outcome(True)
