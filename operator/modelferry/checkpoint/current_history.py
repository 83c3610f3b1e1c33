"""The symbolic link ``current``, and the history of the revisions that it pointed at.

The kubelet resolves the link when it mounts the volume of a pod, and the pod keeps the revision of that moment. The
history tells which revision that was: a rollback points the link at an older revision, so the time at which a revision
was published does not.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Collection, Iterable, Sequence
from dataclasses import asdict, dataclass, replace

from modelferry.checkpoint.published_revisions import current_revision, set_current
from modelferry.messages.earlier_revisions import MountWindow
from modelferry.storage import layout
from modelferry.storage.tree import Tree

#: Seconds by which the times of pods, which have no fractions, and of the history may differ.
_TOLERANCE = 2.0


@dataclass(frozen=True, slots=True)
class Period:
    """``current`` pointed at ``revision`` within this time, in seconds since 1970. ``ended``: None if it may still."""

    revision: str
    began: float
    ended: float | None = None


def read_history(tree: Tree) -> tuple[Period, ...]:
    """The periods in order; none if they are not recorded or the record is damaged."""
    try:
        return tuple(Period(**item) for item in json.loads(tree.read(layout.HISTORY) or b"[]"))
    except (ValueError, TypeError):
        return ()


def switch_current(
    tree: Tree, revision: str, clock: Callable[[], float], *, below: str = "", symlinks: bool = True
) -> str | None:
    """Point ``current`` at `revision`, or at the directory `below` in it, and record it. Returns the revision before.
    `clock` gives seconds since 1970; `symlinks`: the file system has them.

    The new period is recorded before the switch, and the end of the old one after it: after a crash in between both may
    be current, and pods that start then are counted as users of both.
    """
    previous, history = current_revision(tree), read_history(tree)
    if previous is not None and not history:
        history = (Period(previous, clock()),)  # what was current before is unknown
    if not any(period.revision == revision and period.ended is None for period in history):
        history = (*history, Period(revision, clock()))
        _write(tree, history)
    set_current(tree, revision, below=below, symlinks=symlinks)
    if any(period.revision != revision and period.ended is None for period in history):
        now = clock()
        ended = (period if period.ended is not None or period.revision == revision else replace(period, ended=now)
                 for period in history)  # fmt: skip
        _write(tree, ended)
    return previous


def forget_revisions(tree: Tree, revisions: Collection[str]) -> None:
    """Remove the periods of `revisions`, which are no longer on the disk."""
    history = read_history(tree)
    kept = [period for period in history if period.revision not in revisions]
    if len(kept) < len(history):
        _write(tree, kept)


def previous_revision(history: Sequence[Period], current: str | None) -> str | None:
    """The revision that was current before `current`, or None if that is unknown."""
    earlier = [period for period in history if period.revision != current and period.ended is not None]
    return max(earlier, key=lambda period: period.ended or 0.0).revision if earlier else None


def mounted_revisions(
    history: Sequence[Period], windows: Iterable[MountWindow], existing: Collection[str]
) -> frozenset[str]:
    """Those of the `existing` revisions that pods may have mounted which did so within `windows`. Pure.

    If the history does not reach back to one of the windows, these are all of them.
    """
    found: set[str] = set()
    for window in windows:
        if not history or window.earliest < history[0].began - _TOLERANCE:
            return frozenset(existing)
        found |= {one.revision for one in history if window.overlaps(one.began, one.ended, _TOLERANCE)}
    return frozenset(found & set(existing))


def _write(tree: Tree, history: Iterable[Period]) -> None:
    tree.write_atomically(layout.HISTORY, json.dumps([asdict(period) for period in history]).encode())
