"""``modelferry agent fetch``: the main container of a download pod. It fetches the manifest's files, and ``checkpoint``
commits them.

It loads no SQLite, no hash functions and no HTTP library, so that it stays below 48 MB with 16 TLS connections.
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
from modelferry.agent.bandwidth_limiter import BandwidthLimiter
from modelferry.agent.checkpoint_rpc import CheckpointClient
from modelferry.agent.manifest_file import read_manifest
from modelferry.agent.mirror_routes import engine_mirrors
from modelferry.agent.outcome_file import add_outcome_argument, write_outcome
from modelferry.engine.download.coordinator import DownloadCoordinator, Result, Settings
from modelferry.errors import ModelferryError
from modelferry.http.client import HTTPClient
from modelferry.http.routes import Routes
from modelferry.http.transport.throttle import Throttle
from modelferry.manifest import Manifest
from modelferry.messages import MirrorProgress, Outcome
from modelferry.resource.parse import load_artifact

#: The exit code of a process that ended on SIGTERM, as a shell shows it.
TERMINATED = 128 + signal.SIGTERM
#: Seconds for reporting the error of a failed download to the checkpoint.
_REPORT_TIMEOUT = 2.0


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the command's arguments."""
    parser.add_argument(
        "--artifact", type=Path, required=True, metavar="FILE", help="the ModelArtifact, for its transfer settings"
    )
    parser.add_argument(
        "--manifest", type=Path, required=True, metavar="FILE", help="the manifest of the files to fetch"
    )
    parser.add_argument("--socket", type=Path, required=True, metavar="PATH", help="the Unix socket of checkpoint")
    source_route.add_arguments(parser)
    parser.add_argument(
        "--connections", type=int, metavar="N", help="concurrent connections (instead of spec.transfer's)"
    )
    bandwidth_limiter.add_arguments(parser)
    add_outcome_argument(parser)


def main(args: argparse.Namespace) -> int:
    """Run the command. Returns 0, or 143 after SIGTERM or SIGINT, or raises ModelferryError.

    It writes the outcome, except after a signal: then there is none yet.
    """
    try:
        spec = load_artifact(args.artifact).spec
        transfer = spec.transfer
        manifest = read_manifest(args.manifest)
        routes, manifest = source_route.add_mirrors(
            source_route.routes_from_arguments(spec, args), spec, args, manifest
        )
        limits = bandwidth_limiter.configured_limits(args.bandwidth, spec)
    except ModelferryError as error:
        write_outcome(Outcome.from_error(error), args.outcome)
        raise
    connections, plain_http = args.connections or transfer.connections, transfer.tls.allow_plain_http
    settings = Settings(connections, plain_http, transfer.progress_deadline, engine_mirrors(spec))
    throttle = Throttle(connections)
    limiter = BandwidthLimiter(throttle, limits, args.limits)
    try:
        asyncio.run(
            _run_until_signal(
                run(manifest, args.socket, settings, routes, limiter, throttle, outcome_path=args.outcome)
            )
        )
    except asyncio.CancelledError:
        return TERMINATED
    return 0


async def run(
    manifest: Manifest,
    socket: Path,
    settings: Settings,
    routes: Routes,
    limiter: BandwidthLimiter,
    throttle: Throttle,
    *,
    outcome_path: Path | None = None,
) -> Outcome:
    """Fetch `manifest` with the checkpoint that listens on `socket`. `limiter` sets the limits of `throttle` meanwhile.

    Returns the outcome, and writes it to `outcome_path`. A ModelferryError is written there too, reported to the
    checkpoint, and raised again.
    """
    start = time.monotonic()
    checkpoint = CheckpointClient(socket)
    http_client = HTTPClient(routes, connections=settings.connections, throttle=throttle)
    coordinator = DownloadCoordinator(manifest, checkpoint, http_client, settings)
    try:
        async with limiter.running():
            result = await coordinator.run()
        outcome = _outcome(result, time.monotonic() - start, _mirrors(coordinator))
        _write(outcome, outcome_path)
        return outcome
    except ModelferryError as error:
        fields = {
            "fetched": coordinator.telemetry().fetched,
            "retries": coordinator.retries,
            "mirrors": _mirrors(coordinator),
        }
        outcome = Outcome.from_error(error, revision=manifest.revision, seconds=time.monotonic() - start, **fields)
        _write(outcome, outcome_path)
        with suppress(ModelferryError, TimeoutError):
            async with asyncio.timeout(_REPORT_TIMEOUT):
                await checkpoint.report_failure(error)
        raise
    finally:
        await checkpoint.close()


def _mirrors(coordinator: DownloadCoordinator) -> tuple[MirrorProgress, ...]:
    """The final state of the mirrors, if there are several."""
    mirrors = tuple(replace(mirror, speed=0) for mirror in coordinator.telemetry().mirrors)
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
        retained=result.retained,
    )


def _write(outcome: Outcome, path: Path | None) -> None:
    if path is not None:
        write_outcome(outcome, path)


async def _run_until_signal(work: Coroutine[Any, Any, Outcome]) -> Outcome:
    """Run `work`, and cancel it at SIGTERM or SIGINT. What is committed stays: the next start continues from there."""
    task = asyncio.ensure_future(work)
    for number in (signal.SIGTERM, signal.SIGINT):
        asyncio.get_running_loop().add_signal_handler(number, task.cancel)
    return await task
