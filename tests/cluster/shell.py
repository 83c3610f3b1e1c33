"""Runs commands, and waits for conditions with a timeout."""

from __future__ import annotations

import subprocess
import time
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path

Word = str | Path  # of a command

POLL_INTERVAL = 0.1  # seconds between two checks of a condition
OUTPUT_SHOWN = 4000  # characters of the output in the error of a failed command


class ClusterError(Exception):
    """An operation on a cluster failed; the message has the reason and the remedy."""


def run(
    argv: Sequence[Word],
    *,
    input: str | None = None,
    timeout: float = 120,
    env: Mapping[str, str] | None = None,
    cwd: Path | None = None,
) -> str:
    """Runs a command and returns its output; raises ClusterError if it fails. `timeout` in seconds."""
    command = [str(word) for word in argv]
    try:
        done = subprocess.run(
            command, input=input, capture_output=True, text=True, timeout=timeout, env=env, cwd=cwd, check=False
        )
    except FileNotFoundError as error:
        raise ClusterError(f"{error.filename}: no such program") from error
    except subprocess.TimeoutExpired as error:
        raise ClusterError(f"{' '.join(command)}: not finished after {timeout:g} s") from error
    if done.returncode != 0:
        output = (done.stderr + done.stdout).strip()[-OUTPUT_SHOWN:]
        raise ClusterError(f"{' '.join(command)}: exit code {done.returncode}\n{output}")
    return done.stdout


def wait_until(what: str, ready: Callable[[], bool], timeout: float = 60) -> None:
    """Returns as soon as `ready()` is true; raises ClusterError with `what` after `timeout` seconds.

    An OSError or a ClusterError of `ready` counts as false; the last one is part of the final error.
    """
    deadline = time.monotonic() + timeout
    reason = ""
    while True:
        try:
            if ready():
                return
        except (OSError, ClusterError) as error:
            reason = f": {error}"
        if time.monotonic() >= deadline:
            raise ClusterError(f"{what}: still waiting after {timeout:g} s{reason}")
        time.sleep(POLL_INTERVAL)
