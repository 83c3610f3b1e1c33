"""Renders the progress of a download for a terminal. Pure."""

from __future__ import annotations

from datetime import timedelta
from itertools import groupby

from rich.console import Group, RenderableType
from rich.progress_bar import ProgressBar
from rich.table import Table
from rich.text import Text

from modelferry.messages import ChunkMap, FileProgress, Progress
from modelferry.messages.chunk_map import BAD, DONE, IN_FLIGHT, PENDING, downsample
from modelferry.values.quantities import count_text, rate_text, size_text

_STATES = {"verifying": "checking", "repairing": "repairing", "verified": "verified", "pending": "waiting"}
_PHASES = {
    "starting": "starting",
    "paused": "paused",
    "recovering": "checking what is on the disk after an unclean stop of this machine",
    "verifying": "checking",
    "repairing": "repairing",
}
_BAR_WIDTH = 30
#: The shapes differ too, for terminals without colors.
_CHUNK_STYLES = {DONE: ("█", "green"), IN_FLIGHT: ("▒", "yellow"), PENDING: ("·", "dim"), BAD: ("x", "bold red")}


def progress_line(progress: Progress) -> str:
    """One line of text: ``43% of 1.0 GiB, 212 MiB/s, 3 s left, 16 connections, 2 retries, 2 of 9 files``."""
    if progress.phase == "starting":
        return _PHASES["starting"]
    parts = [f"{percent(progress)}% of {size_text(progress.total)}", *_details(progress)]
    if progress.phase in _PHASES:
        parts.insert(0, _PHASES[progress.phase])
    return ", ".join(parts)


def progress_view(progress: Progress, height: int) -> RenderableType:
    """A line for each active file, and the total below, in at most `height` lines."""
    if progress.phase == "starting":
        return Text(_PHASES["starting"], style="dim")
    rows = Table.grid(padding=(0, 2, 0, 0))
    rows.add_column(no_wrap=True, overflow="ellipsis", ratio=1)
    rows.add_column(width=_BAR_WIDTH)
    rows.add_column(justify="right", no_wrap=True)
    rows.expand = True
    active = [file for file in progress.files if file.state in ("fetching", "verifying", "repairing")]
    shown = active[: max(height - 3, 1)]
    for file in shown:
        rows.add_row(Text(file.path), _bar(file.done, file.size), Text(_file_amount(file)))
    if len(shown) < len(active):
        rows.add_row(Text(f"and {len(active) - len(shown)} more", style="dim"))
    count = f"{progress.files_done} of {progress.files_total} files"
    amount = f"{percent(progress)}%  {size_text(progress.received)} / {size_text(progress.total)}"
    rows.add_row(Text(count, style="bold"), _bar(progress.received, progress.total), Text(amount, style="bold"))
    details = [_PHASES[progress.phase]] if progress.phase in _PHASES else []
    details += _details(progress)[:-1] if progress.phase != "recovering" else []
    return Group(rows, Text(", ".join([*details, *filter(None, [progress.message])]), style="dim", overflow="ellipsis"))


def chunk_map_view(chunks: ChunkMap, width: int, height: int) -> RenderableType:
    """The map of the chunks with a legend, in at most `height` lines of at most `width` cells."""
    cells, scale = downsample(chunks.cells, max(width, 1) * max(height - 1, 1))
    text = Text()
    for start in range(0, len(cells), max(width, 1)):
        for letter, run in groupby(cells[start : start + width]):
            sign, style = _CHUNK_STYLES[letter]
            text.append(sign * sum(1 for _ in run), style)
        text.append("\n")
    legend = Text()
    waiting = chunks.chunks - chunks.done - chunks.in_flight - chunks.bad
    counts = ((DONE, "done", chunks.done), (IN_FLIGHT, "in flight", chunks.in_flight), (PENDING, "pending", waiting))
    for letter, name, count in (*counts, (BAD, "bad", chunks.bad)):
        sign, style = _CHUNK_STYLES[letter]
        legend.append(sign, style).append(f" {count} {name}  ", "dim")
    each = chunks.scale * scale
    legend.append(f"({'one chunk' if each == 1 else f'{each} chunks'} each)", "dim")
    legend.truncate(width, overflow="ellipsis")
    return text.append_text(legend)


def percent(progress: Progress) -> int:
    """The percentage of the bytes received, rounded down; 100 only when all bytes are on the disk."""
    if progress.done >= progress.total:
        return 100
    return min(progress.received * 100 // progress.total, 99)


def elapsed_text(seconds: float) -> str:
    """``48 s``, ``3:07 min``, ``1:02:09 h``."""
    total = round(seconds)
    if total < 60:
        return f"{total} s"
    text = str(timedelta(seconds=total))
    return f"{text.removeprefix('0:').removeprefix('0')} min" if total < 3600 else f"{text} h"


def _details(progress: Progress) -> list[str]:
    details = [rate_text(progress.speed)]
    if progress.eta is not None:
        details.append(f"{elapsed_text(progress.eta)} left")
    details.append(count_text(progress.connections, "connection"))
    if progress.received > progress.done:
        details.append(f"{size_text(progress.done)} on the disk")
    if progress.retries:
        details.append(count_text(progress.retries, "retry"))
    return [*details, f"{progress.files_done} of {progress.files_total} files"]


def _bar(done: int, size: int) -> ProgressBar:
    return ProgressBar(total=max(size, 1), completed=done if size else 1, width=_BAR_WIDTH)


def _file_amount(file: FileProgress) -> str:
    return _STATES.get(file.state) or f"{size_text(file.done)} / {size_text(file.size)}"
