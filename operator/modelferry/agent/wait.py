"""``modelferry wait DIR``: return when DIR holds a whole, verified model. The init container of a model's consumers."""

from __future__ import annotations

import argparse
import time
from collections.abc import Callable
from math import inf
from pathlib import Path

from modelferry.engine.checkpoint.ready_marker import ReadyMarker
from modelferry.engine.storage import layout
from modelferry.errors import MachineError, Waiting
from modelferry.values.quantities import size_text

_POLL = 1.0
_SAY_AGAIN = 30.0


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the command's arguments."""
    parser.add_argument(
        "directory", type=Path, metavar="DIR", help="where the model is mounted, or the directory it was pulled to"
    )
    parser.add_argument("--timeout", type=float, metavar="SECONDS", default=inf, help="give up after (default: never)")
    parser.add_argument("--revision", metavar="R", help="wait for this revision (default: any)")


def main(args: argparse.Namespace) -> int:
    """Run; returns 0, or raises Waiting after the timeout and MachineError where DIR may not be read."""
    ready = wait(args.directory, revision=args.revision, timeout=args.timeout, say=_say)
    count = "1 file" if len(ready.files) == 1 else f"{len(ready.files)} files"
    _say(f"ready: revision {ready.revision}, {count}, {size_text(ready.bytes)}")
    return 0


def wait(
    directory: Path,
    *,
    revision: str | None,
    timeout: float,
    say: Callable[[str], None],
    clock: Callable[[], float] = time.monotonic,
    sleep: Callable[[float], None] = time.sleep,
) -> ReadyMarker:
    """The marker of the model in `directory`, once it is there and all its files have their sizes.

    `timeout` in seconds. Raises Waiting when it has passed, and MachineError where `directory` may not be read.
    """
    start = clock()
    said = -inf
    while isinstance(seen := look(directory, revision), str):
        waited = clock() - start
        if waited >= timeout:
            raise Waiting(
                f"{directory}: not ready after {timeout:g} s: {seen}; see the ModelArtifact's status, or wait longer",
                reason="NotReady",
            )
        if waited - said >= _SAY_AGAIN:
            say(f"waiting for the model in {directory} since {waited:.0f} s: {seen}")
            said = waited
        sleep(min(_POLL, timeout - waited))
    return seen


def look(directory: Path, revision: str | None) -> ReadyMarker | str:
    """The marker of the whole model in `directory` (or in its ``current``), or what is still missing."""
    try:
        for location in (directory, directory / layout.CURRENT):
            if (marker := _marker(location)) is not None:
                return _whole(location, ReadyMarker.decode(marker), revision)
        return "nothing is published there yet" if directory.is_dir() else "there is no such directory yet"
    except ValueError:
        return "its marker is damaged"
    except PermissionError as error:
        raise MachineError(
            f"{error.filename}: permission denied; run as a user or with an fsGroup that may read it",
            reason="PermissionDenied",
        ) from error
    except OSError as error:
        # A network file system that is not there for a moment, or a revision that is just being replaced.
        return f"{error.filename}: {error.strerror}"


def _marker(location: Path) -> bytes | None:
    try:
        return (location / layout.READY_NAME).read_bytes()
    except (FileNotFoundError, NotADirectoryError):
        return None


def _whole(location: Path, ready: ReadyMarker, revision: str | None) -> ReadyMarker | str:
    if revision not in (None, ready.revision):
        return f"it holds revision {ready.revision}, not {revision}"
    for file in ready.files:
        if (size := (location / file.path).stat().st_size) != file.size:
            return f"{file.path} has {size} of {file.size} bytes"
    return ready


def _say(line: str) -> None:
    print(f"modelferry: {line}", flush=True)
