"""``modelferry COMMAND``: runs the command, and turns its error into a message and the exit code.

A command is a module with ``add_arguments(parser)`` and ``main(args) -> int``. Only the chosen one is imported, so that
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
from modelferry.cli import standard_streams
from modelferry.cli.standard_streams import complain
from modelferry.errors import ModelferryError, UserError

INTERRUPTED = 130
_BROKEN_PIPE = 141

_EXIT_CODES = """\
exit codes:
  0    success; for pull: every file is complete, and has its declared digest
  2    fix the request: arguments, the YAML, the target directory
  3    fix the source or the network path to it: not found, denied, wrong digest, no connection
  4    fix this machine: disk full or faulty, directory in use, model not ready in time
  130  interrupted; the same command resumes
  1    a bug in Modelferry, with a traceback
"""


@dataclass(frozen=True, slots=True)
class Command:
    """``name`` is what follows ``modelferry`` on the command line, ``module`` implements it. ``ignores_output``: it
    goes on, and succeeds, although nobody can read what it prints."""

    name: str
    module: str
    help: str
    ignores_output: bool = False


COMMANDS = (
    Command("pull", "modelferry.cli.pull", "download a model onto this machine, without a cluster", True),
    Command("verify", "modelferry.cli.verify", "verify every file of a pulled model, and repair it"),
    Command("inspect", "modelferry.cli.inspect", "show what a directory contains, also during a download"),
    Command("wait", "modelferry.agent.wait", "wait until a directory contains a complete model"),
    Command("cleanup", "modelferry.cli.cleanup", "delete the artifacts of a cluster that has no operator any more"),
    Command("operator", "modelferry.cli.operator", "run the operator"),
    Command("agent resolve", "modelferry.agent.resolve", "resolve a source, and print the manifest"),
    Command("agent prepare", "modelferry.agent.prepare", "create an artifact's directory on a node"),
    Command("agent remove", "modelferry.agent.remove", "remove an artifact's directory from a node"),
    Command("agent orphans", "modelferry.agent.orphans", "list and remove directories whose artifacts are gone"),
    Command("agent fetch", "modelferry.agent.fetch", "fetch the files of a manifest"),
    Command(
        "agent checkpoint", "modelferry.agent.checkpoint_sidecar", "verify and commit the chunks that fetch writes"
    ),
)


def main(argv: Sequence[str] | None = None) -> int:
    """Run the command in `argv` (default: the process's own) and return its exit code."""
    if argv is None:
        standard_streams.open_closed_streams()
        _use_utf8()
    words = list(sys.argv[1:] if argv is None else argv)
    parser = _parser(words)
    if not words:
        parser.print_help(sys.stderr)
        return UserError.exit_code
    args = parser.parse_args(words)
    # As process 1 of a container, Python ignores SIGTERM by default: every pod would use up its grace period.
    signal.signal(signal.SIGTERM, _on_terminate)
    if args.command.name != "operator":
        level = logging.INFO if args.command.name.startswith("agent ") else logging.WARNING
        logging.basicConfig(level=level, format="modelferry: %(message)s")
    try:
        # What `pull --print` prints is its result.
        ignored = args.command.ignores_output and not getattr(args, "print", False)
        with standard_streams.output_errors(ignored=ignored):
            return int(args.run(args))
    except ModelferryError as error:
        complain(f"{error.reason}: {error.message}")
        return error.exit_code
    except KeyboardInterrupt:
        complain("interrupted")
        return INTERRUPTED
    except BrokenPipeError:
        return _BROKEN_PIPE


def _use_utf8() -> None:
    """Start this process again in Python's UTF-8 mode (PEP 540) if its locale has another encoding.

    The names of a model's files are UTF-8 on the disk whatever the locale is, and so are the files that are read. The
    encoding of names cannot change in a process that runs. Children get the mode with the environment.
    """
    if sys.getfilesystemencoding() == "utf-8" or os.environ.get("PYTHONUTF8") == "1" or not sys.executable:
        return
    os.execve(sys.executable, [sys.executable, *sys.orig_argv[1:]], os.environ | {"PYTHONUTF8": "1"})


def _parser(words: Sequence[str]) -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="modelferry",
        description="Downloads model files: resumable, and verified by their digests.",
        epilog=_EXIT_CODES,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("--version", action="version", version=f"modelferry {__version__}")
    groups = {"": parser.add_subparsers(metavar="COMMAND", required=True)}
    for command in COMMANDS:
        group, _, word = command.name.rpartition(" ")
        if group not in groups:
            agents = groups[""].add_parser(group, help="run in the operator's pods")
            groups[group] = agents.add_subparsers(metavar="AGENT", required=True)
        subparser = groups[group].add_parser(
            word,
            help=command.help,
            description=f"{command.help[0].upper()}{command.help[1:]}.",
            epilog=_EXIT_CODES,
            formatter_class=argparse.RawDescriptionHelpFormatter,
        )
        if command.name.split() == list(words[: len(command.name.split())]):
            module = import_module(command.module)
            module.add_arguments(subparser)
            subparser.set_defaults(run=module.main, command=command)
    return parser


def _on_terminate(_signal: int, _frame: FrameType | None) -> NoReturn:
    raise SystemExit(128 + signal.SIGTERM)
