"""``modelferry agent prepare``: make an artifact's directory on a node. Runs as root, in the operator's namespace."""

from __future__ import annotations

import argparse
from pathlib import Path

from modelferry.agent.directories import make, parse_path
from modelferry.agent.outcome_file import add_outcome, ended
from modelferry.messages import Outcome

#: The user and group of download pods (as the image's).
DEFAULT_ID = 65532


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the command's arguments."""
    add_location(parser)
    parser.add_argument("--uid", type=int, default=DEFAULT_ID, help="the directory's owner (%(default)s)")
    parser.add_argument("--gid", type=int, default=DEFAULT_ID, help="the directory's group (%(default)s)")
    add_outcome(parser)


def add_location(parser: argparse.ArgumentParser) -> None:
    """Declare ``--root`` and ``--path``."""
    parser.add_argument("--root", type=Path, required=True, metavar="DIR", help="where all models of the node stand")
    parser.add_argument("--path", required=True, metavar="NAMESPACE/NAME", help="the artifact's directory below it")


def main(args: argparse.Namespace) -> int:
    """Run; returns the exit code or raises ModelferryError."""
    return ended(args.outcome, lambda: _prepare(args.root, args.path, args.uid, args.gid))


def _prepare(root: Path, path: str, uid: int, gid: int) -> Outcome:
    namespace, name = parse_path(path)
    make(root, namespace, name, uid=uid, gid=gid)
    return Outcome(True)
