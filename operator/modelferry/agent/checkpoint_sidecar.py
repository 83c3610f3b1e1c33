"""``modelferry agent checkpoint``: the sidecar that owns the directory, verifies and commits chunks, and serves
progress.

It listens before it opens the directory, so that an error of the directory is the response to fetch's ``open`` request
and reaches the termination message of the download container.
"""

from __future__ import annotations

import argparse
import asyncio
import signal
from pathlib import Path

from modelferry.agent.checkpoint_rpc import CheckpointServer
from modelferry.agent.download_metrics import render_metrics
from modelferry.agent.manifest_file import read_manifest
from modelferry.agent.status_server import METRICS, StatusServer
from modelferry.checkpoint.local import LocalCheckpoint
from modelferry.manifest import Manifest
from modelferry.messages.earlier_revisions import decode_windows
from modelferry.resource import hub_cache
from modelferry.resource.hub_cache import LAYOUTS, PLAIN


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the command's arguments."""
    parser.add_argument("--data", type=Path, required=True, metavar="DIR", help="the artifact's directory")
    parser.add_argument(
        "--manifest", type=Path, required=True, metavar="FILE", help="the manifest of the files to fetch"
    )
    parser.add_argument("--socket", type=Path, required=True, metavar="PATH", help="the Unix socket to serve fetch on")
    parser.add_argument(
        "--mounted", type=decode_windows, default=(), metavar="TIMES",
        help="when running pods mounted the model, as START-END,… in seconds since 1970: what was current then is kept",
    )  # fmt: skip
    parser.add_argument("--layout", choices=LAYOUTS, default=PLAIN, help="what is published (%(default)s)")
    parser.add_argument("--hub-folder", default="", metavar="NAME", help="models--OWNER--NAME, unless it is plain")
    parser.add_argument("--hub-ref", action="append", default=[], metavar="REF", help="may be repeated")
    status = parser.add_mutually_exclusive_group(required=True)
    status.add_argument("--port", type=int, metavar="N", help="serve progress on this TCP port")
    status.add_argument("--status-socket", type=Path, metavar="PATH", help="serve progress on this Unix socket")


def main(args: argparse.Namespace) -> int:
    """Run until SIGTERM or SIGINT. Returns 0."""
    manifest = read_manifest(args.manifest)
    cache = hub_cache.from_command_line(args.layout, args.hub_folder, args.hub_ref)
    checkpoint = LocalCheckpoint(args.data, windows=args.mounted, hub_cache=cache)
    asyncio.run(run(manifest, checkpoint, args.socket, port=args.port, status_socket=args.status_socket))
    return 0


async def run(
    manifest: Manifest,
    checkpoint: LocalCheckpoint,
    socket: Path,
    *,
    port: int | None = None,
    status_socket: Path | None = None,
) -> None:
    """Serve fetch with `checkpoint` on `socket`, and progress on TCP `port` or at `status_socket`, until SIGTERM or
    SIGINT."""
    stop = asyncio.Event()
    for number in (signal.SIGTERM, signal.SIGINT):
        asyncio.get_running_loop().add_signal_handler(number, stop.set)
    status = StatusServer(
        {
            "/v1/progress": lambda: checkpoint.progress().encode(),
            "/v1/chunks": lambda: checkpoint.chunks().encode(),
            METRICS: lambda: render_metrics(checkpoint.progress()),
            "/healthz": lambda: '{"ok":true}',
        }
    )
    server = CheckpointServer(checkpoint, manifest)
    try:
        await status.start(port=port, path=status_socket)
        await server.start(socket)
        await stop.wait()
    finally:
        await server.close()
        await status.close()
        await checkpoint.close()
