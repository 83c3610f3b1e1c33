"""``modelferry verify DIR``: verify every file of the published model again. With ``--repair``, fetch the damaged
chunks and replace the damaged files."""

from __future__ import annotations

import argparse
import asyncio
from contextlib import suppress
from dataclasses import asdict
from pathlib import Path
from typing import Any

from rich.console import Console
from rich.progress import BarColumn, DownloadColumn, Progress, TextColumn, TransferSpeedColumn

from modelferry.agent import bandwidth_limiter, source_route
from modelferry.agent.bandwidth_limiter import BandwidthLimiter
from modelferry.agent.mirror_routes import engine_mirrors
from modelferry.agent.resolve import resolve_manifest
from modelferry.checkpoint.ready_marker import ReadyMarker
from modelferry.cli.reporters import print_event
from modelferry.cli.requested_artifact import artifact_of
from modelferry.engine.download.coordinator import Settings
from modelferry.errors import MachineError, ModelferryError
from modelferry.http.client import HTTPClient
from modelferry.http.transport.throttle import Throttle
from modelferry.maintenance.repair import RepairResult, locked, repair
from modelferry.maintenance.revision_check import FileReport, RevisionReport, verify
from modelferry.resource.spec import Spec
from modelferry.resource.undeclared_digests import not_verified
from modelferry.storage import layout
from modelferry.values.quantities import count_text, size_text


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the command's arguments."""
    parser.add_argument("directory", type=Path, metavar="DIR", help="what was given to pull as --to")
    help_ = "fetch the damaged chunks again with this ModelArtifact: its file, or its reference as for pull"
    parser.add_argument("--repair", metavar="WHAT", help=help_)
    bandwidth_limiter.add_bandwidth_argument(parser)
    source_route.add_arguments(parser)
    parser.add_argument("--json", action="store_true", help="print the result as one line of JSON")


def main(args: argparse.Namespace) -> int:
    """Run the command. Returns 0 if all files are intact, or were repaired.

    Raises MachineError if a file is damaged, UserError if nothing is published, and the error that stopped a repair.
    """
    if args.repair is not None:
        return _verify_and_repair(args)
    report = _verify(args.directory)
    if args.json:
        print_event("result", _fields(report))
    if not report.ok:
        raise MachineError(_damage(args.directory, report), reason="Damaged")
    if not args.json:
        print(_intact(report))
    return 0


def _verify_and_repair(args: argparse.Namespace) -> int:
    # RevisionReport an invalid file before reading gigabytes.
    artifact = artifact_of(args.repair, args)
    bandwidth_limiter.configured_limits(args.bandwidth, artifact.spec)
    if not (args.directory / layout.CURRENT).exists():
        _verify(args.directory)  # reports it, before the lock creates anything there
    with locked(args.directory):
        report = _verify(args.directory)
        try:
            repaired = asyncio.run(_repair(args, artifact.spec, report)) if not report.ok else RepairResult((), 0, 0)
        except ModelferryError:
            if args.json:
                print_event("result", _fields(report))
            raise
    if args.json:
        print_event("result", _fields(report) | {"ok": True, "repaired": asdict(repaired)})
    elif report.ok:
        print(_intact(report))
    else:
        print(
            f"modelferry: {report.revision}: {count_text(len(repaired.files), 'file')} repaired, fetched"
            f" {size_text(repaired.fetched)}: {_damaged_files(report)}; now all {size_text(report.bytes)} are intact"
        )
    return 0


async def _repair(args: argparse.Namespace, spec: Spec, report: RevisionReport) -> RepairResult:
    transfer = spec.transfer
    routes = source_route.routes_from_arguments(spec, args)
    routes, source = source_route.add_mirrors(routes, spec, args, await resolve_manifest(spec, routes))
    plain_http = transfer.tls.allow_plain_http
    settings = Settings(transfer.connections, plain_http, transfer.progress_deadline, engine_mirrors(spec))
    throttle = Throttle(settings.connections)
    http_client = HTTPClient(routes, connections=settings.connections, throttle=throttle)
    async with BandwidthLimiter(throttle, bandwidth_limiter.configured_limits(args.bandwidth, spec)).running():
        return await repair(args.directory, report, source, http_client, settings)


def _verify(directory: Path) -> RevisionReport:
    # Only for the progress bar: `verify` reads the marker again, and checks it.
    total = None
    with suppress(OSError, ValueError):
        total = ReadyMarker.decode((directory / layout.CURRENT / layout.READY_NAME).read_bytes()).bytes
    columns = (TextColumn("verifying"), BarColumn(), DownloadColumn(binary_units=True), TransferSpeedColumn())
    console = Console(stderr=True)
    with Progress(*columns, console=console, transient=True, disable=not console.is_terminal) as bar:
        task = bar.add_task("verifying", total=total)
        return verify(directory, on_bytes=lambda count: bar.advance(task, count))


def _fields(report: RevisionReport) -> dict[str, Any]:
    return {"ok": report.ok, "bytes": report.bytes} | asdict(report)


def _intact(report: RevisionReport) -> str:
    files = count_text(len(report.files), "file")
    known = not_verified([file.path for file in report.files if file.checksum == "unknown"])
    return f"modelferry: {report.revision}: {files}, {size_text(report.bytes)}, all intact{known and f', {known}'}"


def _damage(directory: Path, report: RevisionReport) -> str:
    return (
        f"{directory}: {len(report.damaged)} of {count_text(len(report.files), 'file')} differ from what was published:"
        f" {_damaged_files(report)}. Check the disk, then fetch the damaged chunks again with --repair FILE.yaml, or"
        " --repair and the reference that was pulled"
    )


def _damaged_files(report: RevisionReport) -> str:
    bad = report.damaged
    files = [_damaged_file(file) for file in bad[:10]]
    return "; ".join(files + ([f"and {len(bad) - 10} more"] if len(bad) > 10 else []))


def _damaged_file(file: FileReport) -> str:
    if not file.bad_chunks:
        return f"{file.path} is {file.state}"
    numbers = ", ".join(map(str, file.bad_chunks[:5])) + (", …" if len(file.bad_chunks) > 5 else "")
    return f"{file.path} is {file.state} in {count_text(len(file.bad_chunks), 'chunk')} of 16 MiB (number {numbers})"
