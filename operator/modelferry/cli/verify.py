"""``modelferry verify DIR``: is every file of the published model still what was verified?"""

from __future__ import annotations

import argparse
from contextlib import suppress
from dataclasses import asdict
from pathlib import Path

from rich.console import Console
from rich.progress import BarColumn, DownloadColumn, Progress, TextColumn, TransferSpeedColumn

from modelferry.cli.display import counted
from modelferry.cli.reporters import print_event
from modelferry.engine.checkpoint.ready import Ready
from modelferry.engine.storage import layout
from modelferry.engine.units import size_text
from modelferry.engine.verify import FileReport, Report, verify
from modelferry.errors import MachineFault


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the command's arguments."""
    parser.add_argument("directory", type=Path, metavar="DIR", help="what was given to pull as --to")
    parser.add_argument("--json", action="store_true", help="print the result as one line of JSON")


def main(args: argparse.Namespace) -> int:
    """Run; returns 0, or raises MachineFault where a file is damaged and UserFault where nothing is published."""
    report = _verified(args.directory)
    if args.json:
        print_event("result", {"ok": report.ok, "bytes": report.bytes} | asdict(report))
    if not report.ok:
        raise MachineFault(_damage(args.directory, report), reason="Damaged")
    if not args.json:
        print(
            f"modelferry: {report.revision}: {counted(len(report.files), 'file')}, {size_text(report.bytes)}, all whole"
        )
    return 0


def _verified(directory: Path) -> Report:
    # Only for the bar: what the marker says is read again, and judged, by `verify`.
    total = None
    with suppress(OSError, ValueError):
        total = Ready.decode((directory / layout.CURRENT / layout.READY_NAME).read_bytes()).bytes
    columns = (TextColumn("checking"), BarColumn(), DownloadColumn(binary_units=True), TransferSpeedColumn())
    console = Console(stderr=True)
    with Progress(*columns, console=console, transient=True, disable=not console.is_terminal) as bar:
        task = bar.add_task("checking", total=total)
        return verify(directory, seen=lambda count: bar.advance(task, count))


def _damage(directory: Path, report: Report) -> str:
    bad = [file for file in report.files if file.state != "ok"]
    listed = "; ".join(_line(file) for file in bad[:10]) + (f"; and {len(bad) - 10} more" if len(bad) > 10 else "")
    return (
        f"{directory}: {len(bad)} of {counted(len(report.files), 'file')} are not what was verified: {listed}. "
        f"Check the disk, remove {layout.published(report.revision)} there, and pull again"
    )


def _line(file: FileReport) -> str:
    where = f" in {counted(len(file.bad_chunks), 'chunk')} of 16 MiB" if file.bad_chunks else ""
    return f"{file.path} is {file.state}{where}"
