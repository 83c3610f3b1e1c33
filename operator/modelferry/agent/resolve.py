"""``modelferry agent resolve``: ask an artifact's source what there is, and print the manifest to the log."""

from __future__ import annotations

import argparse
import asyncio
from pathlib import Path

from modelferry import sources
from modelferry.agent import source_route
from modelferry.agent.outcome_file import add_outcome, ended
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
    add_outcome(parser)


def main(args: argparse.Namespace) -> int:
    """Run; returns the exit code or raises ModelferryError."""
    return ended(args.outcome, lambda: _resolve(args))


async def resolved(spec: Spec, routes: Routes) -> Manifest:
    """What `spec` is about, by its source, reached on `routes`. Raises what `modelferry.sources.resolve` lists."""
    plain_http = spec.transfer.tls.allow_plain_http
    return await sources.resolve(spec.source, routes, allow_plain_http=plain_http, mirrored=spec.mirrored)


def _resolve(args: argparse.Namespace) -> Outcome:
    spec = load_artifact(args.artifact).spec
    routes = source_route.asked_for(spec, args)
    manifest = asyncio.run(resolved(spec, routes))
    print(print_manifest(encode(manifest)), end="", flush=True)
    return Outcome(True, revision=manifest.revision, bytes=manifest.size)
