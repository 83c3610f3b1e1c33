"""``modelferry inspect DIR``: show the content of a model directory and its chunks.db."""

from __future__ import annotations

import argparse
from collections.abc import Sequence
from dataclasses import asdict
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from modelferry.cli.display import elapsed_text
from modelferry.cli.reporters import print_event
from modelferry.engine.download.transfer_stats import STREAMS
from modelferry.http.wire import ServerBehavior
from modelferry.maintenance.inspection import CostView, FileView, Inspection, RevisionView, inspect
from modelferry.messages.chunk_map import BAD, DONE, encode_runs
from modelferry.resource.undeclared_digests import not_verified
from modelferry.values.quantities import count_text, size_text

_HEADER = ("FILE", "SIZE", "DONE", "CHUNKS", "STATE", "GENERATION", "MIRRORS")


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the command's arguments."""
    parser.add_argument("directory", type=Path, metavar="DIR", help="the target directory of pull (--to)")
    parser.add_argument("--json", action="store_true", help="print one line of JSON")


def main(args: argparse.Namespace) -> int:
    """Run the command. Returns 0. Raises UserError if DIR is not Modelferry's, MachineError if it cannot be read."""
    inspection = inspect(args.directory)
    if args.json:
        print_event("result", json_fields(inspection))
    else:
        print("\n".join(text_lines(inspection)))
    return 0


def json_fields(inspection: Inspection) -> dict[str, Any]:
    """The fields of the ``result`` event, with chunks as run lengths and mirrors as an object."""
    body = asdict(inspection)
    for revision, view in zip(body["revisions"], inspection.revisions, strict=True):
        revision |= {"size": view.size, "done": view.done}
        for file in revision["files"]:
            file |= {"chunks": encode_runs(file.pop("letters")), "mirrors": dict(file["mirrors"])}
    return body


def text_lines(inspection: Inspection) -> list[str]:
    """The text for people, by lines."""
    holder = inspection.holder
    lines = [inspection.directory, f"  in use by: {'no process' if holder is None else f'process {holder}'}"]
    if inspection.database != "whole":
        lines.append(
            f"  chunks.db: {inspection.database}; the next pull creates it, and verifies the files by their digests"
        )
    if inspection.rehash:
        lines.append("  this machine was rebooted since: the next pull hashes every chunk again")
    lines += [f"  leftover: {leftover.path}, {size_text(leftover.bytes)}" for leftover in inspection.leftovers]
    if not inspection.revisions:
        lines.append("  no revisions")
    for revision in inspection.revisions:
        lines += ["", *_revision_lines(revision)]
    return lines


def _revision_lines(view: RevisionView) -> list[str]:
    verified = sum(file.state == "verified" for file in view.files)
    details = [_revision_state(view)]
    if view.files:
        details.append(f"{_percent(view.done, view.size)} of {size_text(view.size)} done")
        details.append(f"{verified} of {count_text(len(view.files), 'file')} verified")
        details += filter(None, [not_verified([file.path for file in view.files if file.state == "complete"])])
    else:
        details.append("no rows in chunks.db")
    table = _table([_HEADER, *map(_file_cells, view.files)])
    quarantined = [f"  quarantined: {one.mirror}, which {one.why} ({one.url})" for one in view.quarantined]
    return [f"revision {view.revision}: {', '.join(details)}", *table, *quarantined, *_spent(view.costs)]


def _spent(costs: Sequence[CostView]) -> list[str]:
    """Retries, and where the time went. Requests run concurrently, and this machine's own work beside them."""
    labels = ServerBehavior.labels()
    behaviors = sorted((cost for cost in costs if cost.what in labels), key=lambda cost: (-cost.times, cost.what))
    streams = sorted((cost for cost in costs if cost.what == STREAMS), key=lambda cost: cost.mirror)
    local = sorted((cost for cost in costs if not cost.mirror), key=lambda cost: -cost.seconds)
    lines = [
        f"  {cost.mirror}: {count_text(cost.times, 'request')}, {elapsed_text(cost.seconds)} in total, concurrently"
        for cost in streams
    ]
    if behaviors:
        counts = (f"{cost.times} at {cost.mirror} ({cost.what})" for cost in behaviors)
        lines.append(f"  retries: {', '.join(counts)}")
    if local:
        lines.append(f"  on the disk: {', '.join(f'{cost.what} {cost.seconds:.1f} s' for cost in local)}")
    return lines


def _revision_state(view: RevisionView) -> str:
    if view.published is None:
        return "downloading"
    when = datetime.fromtimestamp(view.published, UTC).strftime("%Y-%m-%d %H:%M:%S UTC")
    where = "current, published" if view.current else "published"
    return f"{where} {when}" if view.ready else f"{where} {when}, but not ready: its files or its marker are gone"


def _file_cells(file: FileView) -> tuple[str, ...]:
    done, bad = file.letters.count(DONE), file.letters.count(BAD)
    chunks = f"{done}/{len(file.letters)}" + (f" ({bad} bad)" if bad else "")
    mirrors = ", ".join(f"{name} {count}" if len(file.mirrors) > 1 else name for name, count in file.mirrors)
    percent = _percent(file.done, file.size)
    return file.path, size_text(file.size), percent, chunks, file.state, str(file.generation), mirrors or "-"


def _percent(done: int, size: int) -> str:
    return f"{done * 100 // size if size else 100}%"


def _table(rows: list[tuple[str, ...]]) -> list[str]:
    if len(rows) < 2:
        return []
    widths = [max(len(row[column]) for row in rows) for column in range(len(_HEADER))]
    return [
        "  " + "  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)).rstrip() for row in rows
    ]
