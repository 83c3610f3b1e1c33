"""``modelferry agent prepare``: create an artifact's directory on a node. Runs as root, in the operator's namespace."""

from __future__ import annotations

import argparse
from pathlib import Path

from modelferry.agent.directories import create_directory, parse_path
from modelferry.agent.directory_owners import Owner
from modelferry.agent.outcome_file import add_outcome_argument, run_and_write_outcome
from modelferry.messages import Outcome

#: The user and group of download pods, the same as in the image.
DEFAULT_ID = 65532


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the command's arguments."""
    add_directory_arguments(parser)
    parser.add_argument("--uid", type=int, default=DEFAULT_ID, help="the directory's owner (%(default)s)")
    parser.add_argument("--gid", type=int, default=DEFAULT_ID, help="the directory's group (%(default)s)")
    parser.add_argument("--owner", type=Owner.parse, metavar="CLUSTER/UID", help="record this artifact as the owner")
    add_outcome_argument(parser)


def add_directory_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare ``--root`` and ``--path``."""
    parser.add_argument(
        "--root", type=Path, required=True, metavar="DIR", help="the directory of all models on the node"
    )
    parser.add_argument("--path", required=True, metavar="NAMESPACE/NAME", help="the artifact's directory below it")


def main(args: argparse.Namespace) -> int:
    """Run the command. Returns the exit code, or raises ModelferryError."""
    return run_and_write_outcome(args.outcome, lambda: _prepare(args))


def _prepare(args: argparse.Namespace) -> Outcome:
    namespace, name = parse_path(args.path)
    create_directory(args.root, namespace, name, uid=args.uid, gid=args.gid, owner=args.owner)
    return Outcome(True)
