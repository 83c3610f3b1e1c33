"""Standard streams that are closed (``2>&-``), that nobody reads any more, or that cannot be written to."""

from __future__ import annotations

import errno
import os
import sys
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from typing import Any, TextIO, cast

from modelferry.errors import MachineError

_NAMES = ("stdin", "stdout", "stderr")


def open_closed_streams() -> None:
    """Open /dev/null as each of the standard streams that is closed.

    Otherwise the next file or socket that is opened gets its number, and what a library prints is written there.
    """
    for number, name in enumerate(_NAMES):
        try:
            os.fstat(number)
        except OSError:
            # The lowest free number, and so this one: the lower ones are open by now.
            os.set_inheritable(os.open(os.devnull, os.O_RDWR), True)
        if getattr(sys, name) is None:
            mode = "r" if name == "stdin" else "w"
            setattr(sys, name, open(number, mode, encoding="utf-8", closefd=False))  # noqa: SIM115 -- until the exit


def discard(stream: TextIO) -> None:
    """From now on, what is written to `stream` is lost without an error, also what its buffer holds."""
    with suppress(OSError, ValueError):
        null = os.open(os.devnull, os.O_WRONLY)
        os.dup2(null, stream.fileno())
        os.close(null)


def complain(text: str) -> None:
    """Print a line on standard error, if that can be written to."""
    with suppress(OSError):
        print(f"modelferry: {text}", file=sys.stderr, flush=True)


@contextmanager
def output_errors(*, ignored: bool) -> Iterator[None]:
    """While the block runs, and for what it printed: what happens if standard output or standard error cannot be
    written to. If `ignored`, the stream's output is discarded, and standard error says so unless the reader has ended.
    Otherwise BrokenPipeError if the reader has ended, and MachineError."""
    before = sys.stdout, sys.stderr
    sys.stdout = cast(TextIO, _Output(before[0], "standard output", ignored))
    sys.stderr = cast(TextIO, _Output(before[1], "standard error", True))
    try:
        yield
        sys.stdout.flush()
    finally:
        sys.stdout, sys.stderr = before


class _Output:
    """A text stream whose `write` and `flush` never raise, or raise what `output_errors` says."""

    def __init__(self, stream: TextIO, name: str, ignored: bool) -> None:
        self._stream, self._name, self._ignored = stream, name, ignored

    def write(self, text: str) -> int:
        try:
            return self._stream.write(text)
        except OSError as error:
            self._handle(error)
            return len(text)

    def flush(self) -> None:
        try:
            self._stream.flush()
        except OSError as error:
            self._handle(error)

    def _handle(self, error: OSError) -> None:
        if error.errno == errno.EAGAIN:  # a slow reader made it non-blocking: only this text is lost
            return
        discard(self._stream)
        if not self._ignored:
            if isinstance(error, BrokenPipeError):
                raise error
            raise MachineError(
                f"{self._name}: {error.strerror}; write it where there is space", reason="OutputLost"
            ) from error
        if error.errno not in (errno.EPIPE, errno.EIO):  # EIO: the terminal was closed
            complain(f"{self._name}: {error.strerror}; what follows is not printed")

    def __getattr__(self, name: str) -> Any:
        return getattr(self._stream, name)
