"""The progress of a download, for people and for the controller. Pure."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Any

from modelferry.checkpoint.api import Telemetry
from modelferry.checkpoint.file_states import FileState
from modelferry.messages import FileProgress, Progress
from modelferry.messages.chunk_map import BAD, DONE, IN_FLIGHT, PENDING
from modelferry.messages.progress import MAX_FILES
from modelferry.values.rate_meter import RateMeter

#: Seconds that the speed is taken over: long enough to even out 16 MiB commits at 10 MB/s, short enough to follow a
#: network path.
WINDOW = 10.0

_ORDER = {"repairing": 0, "verifying": 1, "fetching": 2, "pending": 3, "verified": 4}


def speed_meter() -> RateMeter:
    """Measures the speed that `progress_report` has."""
    return RateMeter(WINDOW)


def progress_report(
    revision: str,
    states: Sequence[FileState],
    telemetry: Telemetry,
    *,
    received: int,
    phase: str,
    speed: float,
    rehashed: int,
    message: str,
) -> Progress:
    """The progress message for the states of the files. `received`: bytes that arrived, committed or not."""
    total = sum(state.entry.size for state in states)
    done = sum(state.done for state in states)
    received = min(total, received)
    left = total - received
    eta = left / speed if speed > 0 and left else (0.0 if states and not left else None)
    shown = sorted(states, key=lambda state: (_ORDER.get(state.phase, 9), state.number))[:MAX_FILES]
    return Progress(
        phase=phase,
        revision=revision,
        total=total,
        done=done,
        received=received,
        speed=speed,
        eta=eta,
        connections=telemetry.connections,
        retries=telemetry.retries,
        rehashed=rehashed,
        files_total=len(states),
        files_done=sum(state.verified for state in states),
        checksum=_checksum(states),
        message=message or telemetry.message,
        limit=telemetry.limit,
        files=tuple(FileProgress(s.entry.path, s.entry.size, s.done, _file_state(s)) for s in shown),
        fetched=telemetry.fetched,
        chunks=sum(row.done for state in states for row in state.rows),
        mirrors=telemetry.mirrors,
    )


def chunk_letters(states: Sequence[FileState], active: Iterable[Sequence[Any]]) -> str:
    """A letter of messages.chunk_map for each chunk, in the manifest's order. `active`: as in Telemetry."""
    offsets: dict[str, set[int]] = {}
    for path, offset in active:
        offsets.setdefault(path, set()).add(offset)
    letters = []
    for state in states:
        rows = state.rows
        active_chunks = {
            offset // (rows[0].end - rows[0].start) for offset in offsets.get(state.entry.path, ()) if rows
        }
        # A pending chunk with a digest was done before.
        letters += [
            DONE
            if row.done
            else IN_FLIGHT
            if row.index in active_chunks
            else BAD
            if row.digest is not None
            else PENDING
            for row in rows
        ]
    return "".join(letters)


def _file_state(state: FileState) -> str:
    return "complete" if state.verified and state.entry.digest is None else state.phase


def _checksum(states: Sequence[FileState]) -> str:
    if any(state.mismatch for state in states):
        return "mismatch"
    if not states or not all(state.verified for state in states):
        return "pending"
    return "verified" if all(state.entry.digest for state in states) else "unknown"
