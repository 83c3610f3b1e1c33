"""Where progress goes: a live picture on a terminal, a line now and then elsewhere, JSON for machines, or nowhere."""

from __future__ import annotations

import json
import sys
import time
from collections.abc import Callable
from dataclasses import asdict
from typing import Any

from rich.console import Console, Group
from rich.live import Live

from modelferry.cli.display import line_of, map_of, picture_of
from modelferry.messages import ChunkMap, Progress

_LINE_EVERY = 5.0
_JSON_EVERY = _MAP_EVERY = 1.0


class Reporter:
    """Shows nothing; the base of those that do. What it shows is gone or complete after `close`."""

    def begin(self, what: str) -> None:
        """Called once, with a line that says what will be fetched."""

    def show(self, progress: Progress) -> None:
        """Called several times a second."""

    def close(self) -> None:
        """Called once, however the download ended."""


class Picture(Reporter):
    """On a terminal: redrawn in place, wiped at the end."""

    def __init__(self, console: Console, chunks: Callable[[], ChunkMap | None] | None = None) -> None:
        """`chunks` is asked once a second for what is drawn as a map above; there is none without."""
        self._console = console
        self._ask, self._chunks, self._every = chunks, ChunkMap(), _Every(_MAP_EVERY)
        # Not redirected: standard output may be a pipe that wants its JSON lines.
        self._live = Live(
            console=console, auto_refresh=False, transient=True, redirect_stdout=False, redirect_stderr=False
        )

    def begin(self, what: str) -> None:
        """Print, and begin to draw below."""
        self._console.print(what, markup=False, highlight=False, soft_wrap=True)
        self._live.start()

    def show(self, progress: Progress) -> None:
        """Draw."""
        if self._ask is not None and self._every.due():
            self._chunks = self._ask() or self._chunks
        width, height = self._console.size
        if not self._chunks.cells:
            self._live.update(picture_of(progress, height), refresh=True)
            return
        # Two thirds for the map, as far as it needs them.
        lines = min(max(height * 2 // 3, 2), -(-len(self._chunks.cells) // width) + 1)
        picture = picture_of(progress, height - lines)
        self._live.update(Group(map_of(self._chunks, width, lines), picture), refresh=True)

    def close(self) -> None:
        """Wipe."""
        self._live.stop()


class Lines(Reporter):
    """Elsewhere: a line every few seconds."""

    def __init__(self) -> None:
        self._every = _Every(_LINE_EVERY)

    def begin(self, what: str) -> None:
        """Print."""
        print(f"modelferry: {what}", file=sys.stderr, flush=True)
        self._every.due()

    def show(self, progress: Progress) -> None:
        """Print, when it is time."""
        if self._every.due():
            print(f"modelferry: {line_of(progress)}", file=sys.stderr, flush=True)


class JSONLines(Reporter):
    """``{"event": "progress", …}`` on standard output, once a second, beside what `beside` shows to people."""

    def __init__(self, beside: Reporter) -> None:
        self._every = _Every(_JSON_EVERY)
        self._beside = beside

    def begin(self, what: str) -> None:
        """For people only."""
        self._beside.begin(what)

    def show(self, progress: Progress) -> None:
        """Print, when it is time, and how it ended."""
        self._beside.show(progress)
        if self._every.due() or progress.phase in ("published", "failed"):
            print_event("progress", asdict(progress))

    def close(self) -> None:
        """Ends what is beside."""
        self._beside.close()


def choose(*, as_json: bool, quiet: bool, chunks: Callable[[], ChunkMap | None] | None = None) -> Reporter:
    """The reporter for this process's standard output and error; with `chunks`, the picture has their map."""
    beside = Reporter()
    if not quiet and sys.stderr.isatty():
        # One terminal cannot hold a picture and JSON lines.
        beside = beside if as_json and sys.stdout.isatty() else Picture(Console(stderr=True), chunks)
    elif not quiet and not as_json:
        beside = Lines()
    if chunks is not None and not quiet and not isinstance(beside, Picture):
        print("modelferry: --map is for a terminal; there is none to draw on", file=sys.stderr, flush=True)
    return JSONLines(beside) if as_json else beside


def print_event(event: str, fields: dict[str, Any]) -> None:
    """One line of JSON on standard output."""
    print(json.dumps({"event": event} | fields, separators=(",", ":")), flush=True)


class _Every:
    def __init__(self, seconds: float) -> None:
        self._seconds = seconds
        self._next = 0.0

    def due(self) -> bool:
        now = time.monotonic()
        if now < self._next:
            return False
        self._next = now + self._seconds
        return True
