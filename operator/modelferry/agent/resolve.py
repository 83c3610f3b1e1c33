"""``modelferry agent resolve``: resolve an artifact's source into a manifest and print that to the log."""

from __future__ import annotations

import argparse
import asyncio
from pathlib import Path

from modelferry import sources
from modelferry.agent import source_route
from modelferry.agent.outcome_file import add_outcome_argument, run_and_write_outcome
from modelferry.http.routes import Routes
from modelferry.manifest import Manifest, encode
from modelferry.messages import Outcome
from modelferry.messages.manifest_log import print_manifest
from modelferry.resource.parse import load_artifact
from modelferry.resource.spec import Spec


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the command's arguments."""
    parser.add_argument(
        "--artifact", type=Path, required=True, metavar="FILE", help="the ModelArtifact, as YAML or JSON"
    )
    source_route.add_arguments(parser)
    add_outcome_argument(parser)


def main(args: argparse.Namespace) -> int:
    """Run the command. Returns the exit code, or raises ModelferryError."""
    return run_and_write_outcome(args.outcome, lambda: _resolve(args))


async def resolve_manifest(spec: Spec, routes: Routes) -> Manifest:
    """Resolve the source of `spec` over `routes`. Raises the errors of `modelferry.sources.resolve`."""
    plain_http, deadline = spec.transfer.tls.allow_plain_http, spec.transfer.resolve_deadline
    return await sources.resolve(
        spec.source, routes, allow_plain_http=plain_http, mirrored=spec.mirrored, deadline=deadline
    )


def _resolve(args: argparse.Namespace) -> Outcome:
    spec = load_artifact(args.artifact).spec
    routes = source_route.routes_from_arguments(spec, args)
    manifest = asyncio.run(resolve_manifest(spec, routes))
    print(print_manifest(encode(manifest)), end="", flush=True)
    return Outcome(True, revision=manifest.revision, bytes=manifest.size)
