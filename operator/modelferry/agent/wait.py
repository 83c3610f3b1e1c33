"""``modelferry wait DIR``: return once DIR holds a complete model. Consumers run it as an init container."""

from __future__ import annotations

import argparse
import time
from collections.abc import Callable
from math import inf
from pathlib import Path

from modelferry.checkpoint.ready_marker import ReadyMarker
from modelferry.errors import MachineError, Waiting
from modelferry.storage import layout
from modelferry.values.quantities import count_text, size_text

#: Seconds between two checks, and between two printed lines.
_POLL_INTERVAL = 1.0
_REPORT_INTERVAL = 30.0


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the command's arguments."""
    parser.add_argument(
        "directory", type=Path, metavar="DIR", help="where the model is mounted, or the directory it was pulled to"
    )
    parser.add_argument("--timeout", type=float, metavar="SECONDS", default=inf, help="give up after (default: never)")
    parser.add_argument("--revision", metavar="R", help="wait for this revision (default: any)")


def main(args: argparse.Namespace) -> int:
    """Run the command. Returns 0. Raises Waiting after the timeout, and MachineError if DIR may not be read."""
    ready = wait_for_model(args.directory, revision=args.revision, timeout=args.timeout, report=_print)
    _print(f"ready: revision {ready.revision}, {count_text(len(ready.files), 'file')}, {size_text(ready.bytes)}")
    return 0


def wait_for_model(
    directory: Path,
    *,
    revision: str | None,
    timeout: float,
    report: Callable[[str], None],
    clock: Callable[[], float] = time.monotonic,
    sleep: Callable[[float], None] = time.sleep,
) -> ReadyMarker:
    """The marker of the model in `directory`, once it exists and all its files have their sizes.

    `timeout` is in seconds. Raises Waiting after it, and MachineError if `directory` may not be read.
    """
    start = clock()
    last_report = -inf
    while isinstance(result := check_model(directory, revision), str):
        waited = clock() - start
        if waited >= timeout:
            raise Waiting(
                f"{directory}: not ready after {timeout:g} s: {result}; see the ModelArtifact's status, or wait longer",
                reason="NotReady",
            )
        if waited - last_report >= _REPORT_INTERVAL:
            report(f"waiting for the model in {directory} since {waited:.0f} s: {result}")
            last_report = waited
        sleep(min(_POLL_INTERVAL, timeout - waited))
    return result


def check_model(directory: Path, revision: str | None) -> ReadyMarker | str:
    """The marker of the complete model in `directory` (or in its ``current``), or what is still missing."""
    try:
        for location in (directory, directory / layout.CURRENT):
            if (marker := _read_marker(location)) is not None:
                return _check_files(location, ReadyMarker.decode(marker), revision)
        return "nothing is published there yet" if directory.is_dir() else "there is no such directory yet"
    except ValueError:
        return "its marker is damaged"
    except PermissionError as error:
        raise MachineError(
            f"{error.filename}: permission denied; run as a user or with an fsGroup that may read it",
            reason="PermissionDenied",
        ) from error
    except OSError as error:
        # A network file system that is briefly unavailable, or a revision that is being replaced.
        return f"{error.filename}: {error.strerror}"


def _read_marker(location: Path) -> bytes | None:
    try:
        return (location / layout.READY_NAME).read_bytes()
    except (FileNotFoundError, NotADirectoryError):
        return None


def _check_files(location: Path, ready: ReadyMarker, revision: str | None) -> ReadyMarker | str:
    if revision not in (None, ready.revision):
        return f"it holds revision {ready.revision}, not {revision}"
    for file in ready.files:
        if (size := (location / f"{ready.prefix}{file.path}").stat().st_size) != file.size:
            return f"{file.path} has {size} of {file.size} bytes"
    return ready


def _print(line: str) -> None:
    print(f"modelferry: {line}", flush=True)
