"""``modelferry COMMAND``: chooses the command, prints its error, and turns it into the exit code.

A command is a module with ``add_arguments(parser)`` and ``main(args) -> int``; imported only when it is chosen, so that
a download pod does not load the operator's libraries.
"""

from __future__ import annotations

import argparse
import logging
import os
import signal
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from importlib import import_module
from types import FrameType
from typing import NoReturn

from modelferry import __version__
from modelferry.errors import ModelferryError

INTERRUPTED = 130
_BROKEN_PIPE = 141

_EXIT_CODES = """\
exit codes:
  0    done; for pull: every file is whole and verified
  2    the request must change: arguments, the YAML, the target directory
  3    the source, or the way to it, must change: not found, denied, wrong digest, no connection
  4    this machine must change: disk full or faulty, directory in use, model not ready in time
  130  interrupted; the same command resumes
  1    a bug in Modelferry, with a traceback
"""


@dataclass(frozen=True, slots=True)
class Command:
    """What is typed after ``modelferry``, the module behind it, and its line of help."""

    words: str
    module: str
    help: str


COMMANDS = (
    Command("pull", "modelferry.cli.pull", "download a ModelArtifact into a directory of this machine"),
    Command("verify", "modelferry.cli.verify", "check every file of a pulled model, and repair it"),
    Command("inspect", "modelferry.cli.inspect", "show what a directory holds, also while it is filled"),
    Command("wait", "modelferry.agent.wait", "wait until a directory holds a whole, verified model"),
    Command("operator", "modelferry.cli.operator", "run the operator"),
    Command("agent resolve", "modelferry.agent.resolve", "ask a source what there is, and print the manifest"),
    Command("agent prepare", "modelferry.agent.prepare", "make an artifact's directory on a node"),
    Command("agent remove", "modelferry.agent.remove", "remove an artifact's directory from a node"),
    Command("agent fetch", "modelferry.agent.fetch", "fetch a manifest's files"),
    Command(
        "agent checkpoint", "modelferry.agent.checkpoint_sidecar", "verify and record the chunks that fetch writes"
    ),
)


def main(argv: Sequence[str] | None = None) -> int:
    """Run the command in `argv` (default: the process's own) and return its exit code."""
    words = list(sys.argv[1:] if argv is None else argv)
    args = _parser(words).parse_args(words)
    # As a container's process 1, Python would ignore SIGTERM, and every pod's end would take its grace period.
    signal.signal(signal.SIGTERM, _terminated)
    if args.command.words != "operator":
        level = logging.INFO if args.command.words.startswith("agent ") else logging.WARNING
        logging.basicConfig(level=level, format="modelferry: %(message)s")
    try:
        return int(args.run(args))
    except ModelferryError as error:
        print(f"modelferry: {error.reason}: {error.message}", file=sys.stderr)
        return error.exit_code
    except KeyboardInterrupt:
        print("modelferry: interrupted", file=sys.stderr)
        return INTERRUPTED
    except BrokenPipeError:
        # Whoever read our output has left. Python would complain once more when it flushes at exit.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return _BROKEN_PIPE


def _parser(words: Sequence[str]) -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="modelferry",
        description="Puts model files where they are needed: resumable, and verified to the last byte.",
        epilog=_EXIT_CODES,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("--version", action="version", version=f"modelferry {__version__}")
    commands = parser.add_subparsers(metavar="COMMAND", required=True)
    agents = commands.add_parser("agent", help="what runs in the operator's pods").add_subparsers(
        metavar="AGENT", required=True
    )
    for command in COMMANDS:
        group, _, word = command.words.rpartition(" ")
        one = (agents if group else commands).add_parser(
            word,
            help=command.help,
            description=f"{command.help[0].upper()}{command.help[1:]}.",
            epilog=_EXIT_CODES,
            formatter_class=argparse.RawDescriptionHelpFormatter,
        )
        if command.words.split() == list(words[: len(command.words.split())]):
            module = import_module(command.module)
            module.add_arguments(one)
            one.set_defaults(run=module.main, command=command)
    return parser


def _terminated(_signal: int, _frame: FrameType | None) -> NoReturn:
    raise SystemExit(128 + signal.SIGTERM)
