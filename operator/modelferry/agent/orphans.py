"""``modelferry agent orphans``: list the directories of a cluster's artifacts on a node, and remove orphaned ones. Runs
as root, like ``prepare``.

The list is the last line that it prints. `--remove` names an artifact with its uid: the directory of another artifact,
which may have got the same name meanwhile, stays.
"""

from __future__ import annotations

import argparse
from collections.abc import Iterable
from pathlib import Path

from modelferry.agent.directories import list_directories, remove_directory
from modelferry.agent.directory_owners import Owner
from modelferry.agent.outcome_file import add_outcome_argument, run_and_write_outcome
from modelferry.messages import Outcome
from modelferry.messages.owned_directories import OwnedDirectory, encode_directories


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the command's arguments."""
    parser.add_argument(
        "--root", type=Path, required=True, metavar="DIR", help="the directory of all models on the node"
    )
    parser.add_argument("--cluster", required=True, metavar="UID", help="the uid of the namespace kube-system")
    parser.add_argument(
        "--remove", type=OwnedDirectory.parse, action="append", default=[], metavar="NAMESPACE/NAME/UID",
        help="remove the directory of this artifact first; may be repeated",
    )  # fmt: skip
    add_outcome_argument(parser)


def main(args: argparse.Namespace) -> int:
    """Run the command. Returns the exit code, or raises ModelferryError."""
    return run_and_write_outcome(args.outcome, lambda: _remove_and_list(args.root, args.cluster, args.remove))


def _remove_and_list(root: Path, cluster: str, orphans: Iterable[OwnedDirectory]) -> Outcome:
    for orphan in orphans:
        remove_directory(root, orphan.namespace, orphan.name, owner=Owner(cluster, orphan.uid))
        print(f"removed {orphan.namespace}/{orphan.name}: its artifact {orphan.uid} does not exist any more")
    print(encode_directories(list_directories(root, cluster)), flush=True)
    return Outcome(True)
