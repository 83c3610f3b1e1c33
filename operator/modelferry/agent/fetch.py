"""``modelferry agent fetch``: the download pod's main container. Fetches the manifest's files; ``checkpoint`` records
them.

Lean on purpose: no SQLite, no hashes, no HTTP library. It stays below 48 MB with 16 TLS connections.
"""

from __future__ import annotations

import argparse
import asyncio
import signal
import time
from collections.abc import Coroutine
from contextlib import suppress
from dataclasses import replace
from pathlib import Path
from typing import Any

from modelferry.agent import bandwidth_limiter, source_route
from modelferry.agent.bandwidth_limiter import Limiter
from modelferry.agent.checkpoint_rpc import CheckpointClient
from modelferry.agent.manifest_file import read_manifest
from modelferry.agent.mirror_routes import standings
from modelferry.agent.outcome_file import add_outcome, leave
from modelferry.engine.download.coordinator import DownloadCoordinator, Result, Settings
from modelferry.errors import ModelferryError
from modelferry.http.client import HTTPClient
from modelferry.http.routes import Routes
from modelferry.http.transport.throttle import Throttle
from modelferry.manifest import Manifest
from modelferry.messages import MirrorProgress, Outcome
from modelferry.resource.parse import load_artifact

#: What a shell shows for a process that ended on SIGTERM.
TERMINATED = 128 + signal.SIGTERM
#: Seconds that a failed download takes to have its error shown by the checkpoint.
_LAST_WORD = 2.0


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the command's arguments."""
    parser.add_argument("--artifact", type=Path, required=True, metavar="FILE", help="the ModelArtifact: its transfer")
    parser.add_argument("--manifest", type=Path, required=True, metavar="FILE", help="what is to be fetched")
    parser.add_argument("--socket", type=Path, required=True, metavar="PATH", help="where checkpoint listens")
    source_route.add_arguments(parser)
    parser.add_argument("--connections", type=int, metavar="N", help="streams at a time (instead of spec.transfer's)")
    bandwidth_limiter.add_arguments(parser)
    add_outcome(parser)


def main(args: argparse.Namespace) -> int:
    """Run; returns 0, or 143 where SIGTERM or SIGINT ended it, or raises ModelferryError. The outcome is left anyway,
    except where it was ended: there is none yet."""
    try:
        spec = load_artifact(args.artifact).spec
        transfer = spec.transfer
        manifest = read_manifest(args.manifest)
        routes, manifest = source_route.with_mirrors(source_route.asked_for(spec, args), spec, args, manifest)
        allowed = bandwidth_limiter.given(args.bandwidth, spec)
    except ModelferryError as error:
        leave(Outcome.of(error), args.outcome)
        raise
    connections, plain_http = args.connections or transfer.connections, transfer.tls.allow_plain_http
    settings = Settings(connections, plain_http, transfer.progress_deadline, standings(spec))
    throttle = Throttle(connections)
    limiter = Limiter(throttle, allowed, args.limits)
    try:
        asyncio.run(
            _until_signalled(run(manifest, args.socket, settings, routes, limiter, throttle, tell=args.outcome))
        )
    except asyncio.CancelledError:
        return TERMINATED
    return 0


async def run(
    manifest: Manifest,
    socket: Path,
    settings: Settings,
    routes: Routes,
    limiter: Limiter,
    throttle: Throttle,
    *,
    tell: Path | None = None,
) -> Outcome:
    """Fetch `manifest` with the checkpoint that listens on `socket`, as fast as the `limiter` lets the `throttle`; the
    outcome is left at `tell` as well.

    A ModelferryError is left there as the outcome that it makes, shown by the checkpoint, and raised again.
    """
    start = time.monotonic()
    link = CheckpointClient(socket)
    http_client = HTTPClient(routes, connections=settings.connections, throttle=throttle)
    fetcher = DownloadCoordinator(manifest, link, http_client, settings)
    try:
        async with limiter.watched():
            result = await fetcher.run()
        outcome = _outcome(result, time.monotonic() - start, _mirrors(fetcher))
        _leave(outcome, tell)
        return outcome
    except ModelferryError as error:
        fields = {"fetched": fetcher.telemetry().fetched, "retries": fetcher.retries, "mirrors": _mirrors(fetcher)}
        outcome = Outcome.of(error, revision=manifest.revision, seconds=time.monotonic() - start, **fields)
        _leave(outcome, tell)
        with suppress(ModelferryError, TimeoutError):
            async with asyncio.timeout(_LAST_WORD):
                await link.report_failure(error)
        raise
    finally:
        await link.close()


def _mirrors(fetcher: DownloadCoordinator) -> tuple[MirrorProgress, ...]:
    """How they ended, where there are several."""
    mirrors = tuple(replace(mirror, speed=0) for mirror in fetcher.telemetry().mirrors)
    return mirrors if len(mirrors) > 1 else ()


def _outcome(result: Result, seconds: float, mirrors: tuple[MirrorProgress, ...]) -> Outcome:
    return Outcome(
        True,
        revision=result.revision,
        message="; ".join(result.notes),
        bytes=result.bytes,
        fetched=result.fetched,
        retries=result.retries,
        rehashed=result.rehashed,
        seconds=round(seconds, 3),
        mirrors=mirrors,
    )


def _leave(outcome: Outcome, tell: Path | None) -> None:
    if tell is not None:
        leave(outcome, tell)


async def _until_signalled(work: Coroutine[Any, Any, Outcome]) -> Outcome:
    """Do `work`, and cancel it at SIGTERM or SIGINT: what is committed stays, the next start goes on from there."""
    task = asyncio.ensure_future(work)
    for number in (signal.SIGTERM, signal.SIGINT):
        asyncio.get_running_loop().add_signal_handler(number, task.cancel)
    return await task
