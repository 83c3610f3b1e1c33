"""``modelferry agent checkpoint``: the sidecar that owns the directory, verifies and records chunks, and serves
progress.

It listens before it touches the directory: what is wrong with that is the answer to fetch's ``open``, and so reaches
the termination message of the container that a person looks at.
"""

from __future__ import annotations

import argparse
import asyncio
import signal
from pathlib import Path

from modelferry.agent.checkpoint_rpc import CheckpointServer
from modelferry.agent.download_metrics import metrics
from modelferry.agent.manifest_file import read_manifest
from modelferry.agent.status_server import METRICS, StatusServer
from modelferry.engine.checkpoint.local import LocalCheckpoint
from modelferry.manifest import Manifest


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the command's arguments."""
    parser.add_argument("--data", type=Path, required=True, metavar="DIR", help="the artifact's directory")
    parser.add_argument("--manifest", type=Path, required=True, metavar="FILE", help="what is to be fetched")
    parser.add_argument("--socket", type=Path, required=True, metavar="PATH", help="where fetch connects")
    status = parser.add_mutually_exclusive_group(required=True)
    status.add_argument("--port", type=int, metavar="N", help="serve progress on this TCP port")
    status.add_argument("--status-socket", type=Path, metavar="PATH", help="serve progress on this Unix socket")


def main(args: argparse.Namespace) -> int:
    """Run until SIGTERM or SIGINT; returns 0."""
    manifest = read_manifest(args.manifest)
    asyncio.run(run(manifest, args.data, args.socket, port=args.port, status_socket=args.status_socket))
    return 0


async def run(
    manifest: Manifest, data: Path, socket: Path, *, port: int | None = None, status_socket: Path | None = None
) -> None:
    """Serve fetch on `socket`, and progress on TCP `port` or at `status_socket`, until SIGTERM or SIGINT."""
    stop = asyncio.Event()
    for number in (signal.SIGTERM, signal.SIGINT):
        asyncio.get_running_loop().add_signal_handler(number, stop.set)
    checkpoint = LocalCheckpoint(data)
    status = StatusServer(
        {
            "/v1/progress": lambda: checkpoint.progress().encode(),
            "/v1/chunks": lambda: checkpoint.chunks().encode(),
            METRICS: lambda: metrics(checkpoint.progress()),
            "/healthz": lambda: '{"ok":true}',
        }
    )
    link = CheckpointServer(checkpoint, manifest)
    try:
        await status.start(port=port, path=status_socket)
        await link.start(socket)
        await stop.wait()
    finally:
        await link.close()
        await status.close()
        await checkpoint.close()
