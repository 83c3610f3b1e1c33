"""How a running download looks. Pure: a Progress in, something to print out."""

from __future__ import annotations

from datetime import timedelta
from itertools import groupby

from rich.console import Group, RenderableType
from rich.progress_bar import ProgressBar
from rich.table import Table
from rich.text import Text

from modelferry.messages import ChunkMap, FileProgress, Progress
from modelferry.messages.chunk_map import BAD, DONE, IN_FLIGHT, PENDING, downsample
from modelferry.values.quantities import size_text

_STATES = {"verifying": "checking", "repairing": "repairing", "verified": "whole", "pending": "waiting"}
_PHASES = {
    "starting": "starting",
    "paused": "paused",
    "recovering": "checking what is on the disk after an unclean stop of this machine",
    "verifying": "checking",
    "repairing": "repairing",
}
_BAR = 30
#: Told apart by their shapes, too.
_CELLS = {DONE: ("█", "green"), IN_FLIGHT: ("▒", "yellow"), PENDING: ("·", "dim"), BAD: ("x", "bold red")}


def line_of(progress: Progress) -> str:
    """One plain line: ``43% of 1.0 GiB, 212 MiB/s, 3 s left, 2 of 9 files, 16 connections, 2 retries``."""
    if progress.phase == "starting":
        return _PHASES["starting"]
    parts = [f"{percent(progress)}% of {size_text(progress.total)}", *_facts(progress)]
    if progress.phase in _PHASES:
        parts.insert(0, _PHASES[progress.phase])
    return ", ".join(parts)


def picture_of(progress: Progress, height: int) -> RenderableType:
    """A line for each file at work, and the total under them, in at most `height` lines."""
    if progress.phase == "starting":
        return Text(_PHASES["starting"], style="dim")
    rows = Table.grid(padding=(0, 2, 0, 0))
    rows.add_column(no_wrap=True, overflow="ellipsis", ratio=1)
    rows.add_column(width=_BAR)
    rows.add_column(justify="right", no_wrap=True)
    rows.expand = True
    working = [file for file in progress.files if file.state in ("fetching", "verifying", "repairing")]
    shown = working[: max(height - 3, 1)]
    for file in shown:
        rows.add_row(Text(file.path), _bar(file.done, file.size), Text(_amount(file)))
    if len(shown) < len(working):
        rows.add_row(Text(f"and {len(working) - len(shown)} more", style="dim"))
    count = f"{progress.files_done} of {progress.files_total} files"
    amount = f"{percent(progress)}%  {size_text(progress.received)} / {size_text(progress.total)}"
    rows.add_row(Text(count, style="bold"), _bar(progress.received, progress.total), Text(amount, style="bold"))
    facts = [_PHASES[progress.phase]] if progress.phase in _PHASES else []
    facts += _facts(progress)[:-1] if progress.phase != "recovering" else []
    return Group(rows, Text(", ".join([*facts, *filter(None, [progress.message])]), style="dim", overflow="ellipsis"))


def map_of(chunks: ChunkMap, width: int, height: int) -> RenderableType:
    """The map of the chunks in lines of at most `width` cells, and what the signs mean; at most `height` lines."""
    cells, scale = downsample(chunks.cells, max(width, 1) * max(height - 1, 1))
    text = Text()
    for start in range(0, len(cells), max(width, 1)):
        for letter, run in groupby(cells[start : start + width]):
            sign, style = _CELLS[letter]
            text.append(sign * sum(1 for _ in run), style)
        text.append("\n")
    legend = Text()
    waiting = chunks.chunks - chunks.done - chunks.in_flight - chunks.bad
    counts = ((DONE, "done", chunks.done), (IN_FLIGHT, "in flight", chunks.in_flight), (PENDING, "pending", waiting))
    for letter, name, count in (*counts, (BAD, "bad", chunks.bad)):
        sign, style = _CELLS[letter]
        legend.append(sign, style).append(f" {count} {name}  ", "dim")
    each = chunks.scale * scale
    legend.append(f"({'one chunk' if each == 1 else f'{each} chunks'} each)", "dim")
    legend.truncate(width, overflow="ellipsis")
    return text.append_text(legend)


def percent(progress: Progress) -> int:
    """Whole percent of the bytes that have arrived; 100 only when all of them are verified on the disk."""
    if progress.done >= progress.total:
        return 100
    return min(progress.received * 100 // progress.total, 99)


def duration(seconds: float) -> str:
    """``48 s``, ``3:07 min``, ``1:02:09 h``."""
    whole = round(seconds)
    if whole < 60:
        return f"{whole} s"
    text = str(timedelta(seconds=whole))
    return f"{text.removeprefix('0:').removeprefix('0')} min" if whole < 3600 else f"{text} h"


def counted(count: int, noun: str) -> str:
    """``1 file``, ``2 files``, ``2 retries``."""
    plural = f"{noun[:-1]}ies" if noun.endswith("y") else f"{noun}s"
    return f"{count} {noun if count == 1 else plural}"


def _facts(progress: Progress) -> list[str]:
    facts = [f"{size_text(round(progress.speed))}/s"]
    if progress.eta is not None:
        facts.append(f"{duration(progress.eta)} left")
    facts.append(counted(progress.connections, "connection"))
    if progress.received > progress.done:
        facts.append(f"{size_text(progress.done)} verified")
    if progress.retries:
        facts.append(counted(progress.retries, "retry"))
    return [*facts, f"{progress.files_done} of {progress.files_total} files"]


def _bar(done: int, size: int) -> ProgressBar:
    return ProgressBar(total=max(size, 1), completed=done if size else 1, width=_BAR)


def _amount(file: FileProgress) -> str:
    return _STATES.get(file.state) or f"{size_text(file.done)} / {size_text(file.size)}"
