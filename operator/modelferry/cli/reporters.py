"""Shows progress: a live view on a terminal, otherwise a line at intervals, as JSON for programs, or not at all."""

from __future__ import annotations

import json
import sys
import time
from collections.abc import Callable
from dataclasses import asdict
from typing import Any

from rich.console import Console, Group
from rich.live import Live

from modelferry.cli.display import chunk_map_view, progress_line, progress_view
from modelferry.messages import ChunkMap, Progress

#: Seconds between two lines, JSON events and updates of the map.
_LINE_INTERVAL = 5.0
_JSON_INTERVAL = _MAP_INTERVAL = 1.0


class Reporter:
    """Shows nothing; the base class of the others."""

    def begin(self, description: str) -> None:
        """Called once, with a line that describes the download."""

    def show(self, progress: Progress) -> None:
        """Called several times a second."""

    def close(self) -> None:
        """Called once at the end, also after an error."""


class LiveReporter(Reporter):
    """For a terminal: a view that is redrawn in place, and erased at the end."""

    def __init__(self, console: Console, chunks: Callable[[], ChunkMap | None] | None = None) -> None:
        """`chunks` is called once a second for the map above the view. If it is None, there is no map."""
        self._console = console
        self._fetch_chunks, self._chunks, self._map_timer = chunks, ChunkMap(), _Timer(_MAP_INTERVAL)
        # Not redirected: standard output may be a pipe that reads the JSON lines.
        self._live = Live(
            console=console, auto_refresh=False, transient=True, redirect_stdout=False, redirect_stderr=False
        )

    def begin(self, description: str) -> None:
        """Print the description, and start the view below it."""
        self._console.print(description, markup=False, highlight=False, soft_wrap=True)
        self._live.start()

    def show(self, progress: Progress) -> None:
        """Redraw the view."""
        if self._fetch_chunks is not None and self._map_timer.due():
            self._chunks = self._fetch_chunks() or self._chunks
        width, height = self._console.size
        if not self._chunks.cells:
            self._live.update(progress_view(progress, height), refresh=True)
            return
        # The map gets two thirds of the height at most.
        lines = min(max(height * 2 // 3, 2), -(-len(self._chunks.cells) // width) + 1)
        view = progress_view(progress, height - lines)
        self._live.update(Group(chunk_map_view(self._chunks, width, lines), view), refresh=True)

    def close(self) -> None:
        """Erase the view."""
        self._live.stop()


class LineReporter(Reporter):
    """Without a terminal: a line every few seconds."""

    def __init__(self) -> None:
        self._timer = _Timer(_LINE_INTERVAL)

    def begin(self, description: str) -> None:
        """Print the description."""
        print(f"modelferry: {description}", file=sys.stderr, flush=True)
        self._timer.due()

    def show(self, progress: Progress) -> None:
        """Print a line, if one is due."""
        if self._timer.due():
            print(f"modelferry: {progress_line(progress)}", file=sys.stderr, flush=True)


class JSONReporter(Reporter):
    """For programs: ``{"event": "progress", …}`` on standard output once a second, beside the reporter `text`."""

    def __init__(self, text: Reporter) -> None:
        self._timer = _Timer(_JSON_INTERVAL)
        self._text = text

    def begin(self, description: str) -> None:
        """Call `text`: there is no event for this."""
        self._text.begin(description)

    def show(self, progress: Progress) -> None:
        """Print an event, if one is due, and always the last one."""
        self._text.show(progress)
        if self._timer.due() or progress.phase in ("published", "failed"):
            print_event("progress", asdict(progress))

    def close(self) -> None:
        """Close `text`."""
        self._text.close()


def choose_reporter(*, as_json: bool, quiet: bool, chunks: Callable[[], ChunkMap | None] | None = None) -> Reporter:
    """The reporter for this process's standard output and standard error. `chunks` is for the map of a live view."""
    reporter = Reporter()
    if not quiet and sys.stderr.isatty():
        # A terminal cannot show a live view and JSON lines together.
        reporter = reporter if as_json and sys.stdout.isatty() else LiveReporter(Console(stderr=True), chunks)
    elif not quiet and not as_json:
        reporter = LineReporter()
    if chunks is not None and not quiet and not isinstance(reporter, LiveReporter):
        print("modelferry: --map needs a terminal, and standard error is not one", file=sys.stderr, flush=True)
    return JSONReporter(reporter) if as_json else reporter


def print_event(event: str, fields: dict[str, Any]) -> None:
    """Print an event as a line of JSON on standard output."""
    print(json.dumps({"event": event} | fields, separators=(",", ":")), flush=True)


class _Timer:
    def __init__(self, seconds: float) -> None:
        self._seconds = seconds
        self._next = 0.0

    def due(self) -> bool:
        now = time.monotonic()
        if now < self._next:
            return False
        self._next = now + self._seconds
        return True
