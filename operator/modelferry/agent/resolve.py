"""``modelferry agent resolve``: ask an artifact's source what there is, and print the manifest to the log."""

from __future__ import annotations

import argparse
import asyncio
from pathlib import Path

from modelferry import sources
from modelferry.agent.ending import add_outcome, ended
from modelferry.agent.trust import add_ca_file, context_of
from modelferry.manifest import encode
from modelferry.messages import Outcome
from modelferry.messages.printed import print_manifest
from modelferry.resource.parse import load_artifact


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the command's arguments."""
    parser.add_argument(
        "--artifact", type=Path, required=True, metavar="FILE", help="the ModelArtifact, as YAML or JSON"
    )
    add_ca_file(parser)
    add_outcome(parser)


def main(args: argparse.Namespace) -> int:
    """Run; returns the exit code or raises ModelferryError."""
    return ended(args.outcome, lambda: _resolve(args.artifact, args.ca_file))


def _resolve(artifact: Path, ca_files: list[Path]) -> Outcome:
    spec = load_artifact(artifact).spec
    tls = spec.transfer.tls
    context = context_of(tls, ca_files)
    manifest = asyncio.run(sources.resolve(spec.source, context=context, allow_plain_http=tls.allow_plain_http))
    print(print_manifest(encode(manifest)), end="", flush=True)
    return Outcome(True, revision=manifest.revision, bytes=manifest.size)
