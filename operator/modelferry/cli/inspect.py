"""``modelferry inspect DIR``: what the directory and its chunks.db hold."""

from __future__ import annotations

import argparse
from collections.abc import Sequence
from dataclasses import asdict
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from modelferry.cli.display import counted, duration
from modelferry.cli.reporters import print_event
from modelferry.engine.download.transfer_stats import STREAMS
from modelferry.engine.maintenance.inspection import CostView, FileView, Inspection, RevisionView, inspect
from modelferry.http.wire import ServerBehavior
from modelferry.messages.chunk_map import BAD, DONE, encode_runs
from modelferry.values.quantities import size_text

_HEADER = ("FILE", "SIZE", "DONE", "CHUNKS", "STATE", "GENERATION", "MIRRORS")


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the command's arguments."""
    parser.add_argument("directory", type=Path, metavar="DIR", help="what was given to pull as --to")
    parser.add_argument("--json", action="store_true", help="print it as one line of JSON")


def main(args: argparse.Namespace) -> int:
    """Run; returns 0, or raises UserError where DIR is not Modelferry's and MachineError where it cannot be read."""
    inspection = inspect(args.directory)
    if args.json:
        print_event("result", as_json(inspection))
    else:
        print("\n".join(lines_of(inspection)))
    return 0


def as_json(inspection: Inspection) -> dict[str, Any]:
    """The fields of the event ``result``; chunks as run lengths, mirrors as an object."""
    body = asdict(inspection)
    for revision, view in zip(body["revisions"], inspection.revisions, strict=True):
        revision |= {"size": view.size, "done": view.done}
        for file in revision["files"]:
            file |= {"chunks": encode_runs(file.pop("letters")), "mirrors": dict(file["mirrors"])}
    return body


def lines_of(inspection: Inspection) -> list[str]:
    """As a person reads it."""
    holder = inspection.holder
    lines = [inspection.directory, f"  at work: {'nobody' if holder is None else f'process {holder}'}"]
    if inspection.database != "whole":
        lines.append(f"  chunks.db: {inspection.database}; the next pull makes a new one from what the digests prove")
    if inspection.rehash:
        lines.append("  this machine was started anew since: the next pull hashes every chunk again")
    for left in inspection.leftovers:
        lines.append(f"  left behind: {left.path}, {size_text(left.bytes)}")
    if not inspection.revisions:
        lines.append("  no revisions")
    for revision in inspection.revisions:
        lines += ["", *_revision(revision)]
    return lines


def _revision(view: RevisionView) -> list[str]:
    verified = sum(file.state == "verified" for file in view.files)
    facts = [_standing(view)]
    if view.files:
        facts.append(f"{_percent(view.done, view.size)} of {size_text(view.size)} done")
        facts.append(f"{verified} of {counted(len(view.files), 'file')} verified")
    else:
        facts.append("no rows in chunks.db")
    rows = _table([_HEADER, *map(_row, view.files)])
    liars = [f"  quarantined: {one.mirror}, which {one.why} ({one.url})" for one in view.quarantined]
    return [f"revision {view.revision}: {', '.join(facts)}", *rows, *liars, *_spent(view.costs)]


def _spent(costs: Sequence[CostView]) -> list[str]:
    """Retries, and where the time went: streams run side by side, this machine's work beside them."""
    labels = ServerBehavior.labels()
    behaviors = sorted((cost for cost in costs if cost.what in labels), key=lambda cost: (-cost.times, cost.what))
    streams = sorted((cost for cost in costs if cost.what == STREAMS), key=lambda cost: cost.mirror)
    work = sorted((cost for cost in costs if not cost.mirror), key=lambda cost: -cost.seconds)
    lines = [
        f"  {cost.mirror}: {counted(cost.times, 'request')}, {duration(cost.seconds)} in all, side by side"
        for cost in streams
    ]
    if behaviors:
        counts = (f"{cost.times} by {cost.mirror} ({cost.what})" for cost in behaviors)
        lines.append(f"  retries: {', '.join(counts)}")
    if work:
        lines.append(f"  on the disk: {', '.join(f'{cost.what} {cost.seconds:.1f} s' for cost in work)}")
    return lines


def _standing(view: RevisionView) -> str:
    if view.published is None:
        return "being fetched"
    when = datetime.fromtimestamp(view.published, UTC).strftime("%Y-%m-%d %H:%M:%S UTC")
    where = "current, published" if view.current else "published"
    return f"{where} {when}" if view.ready else f"{where} {when}, but not ready: its files or its marker are gone"


def _row(file: FileView) -> tuple[str, ...]:
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
