"""What is to be reached, and whether it was. Pure: rows in, a judgement out."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

from benchmarks.stats import CHECKED, MB, OURS, UNCHECKED, Row

#: The tools with more than one stream for a file.
_MULTI = ("axel", "aria2c", "hf_transfer")


@dataclass(frozen=True, slots=True)
class Judged:
    """``value`` is what was measured; ``reached`` is None where there was nothing to compare with."""

    text: str
    value: str
    reached: bool | None


@dataclass(frozen=True, slots=True)
class Goal:
    """``text`` says what is to be reached; ``judge`` looks at the rows and says what was measured."""

    text: str
    judge: Callable[[Sequence[Row]], tuple[str, bool | None]]

    def judged(self, rows: Sequence[Row]) -> Judged:
        """By `rows`."""
        value, reached = self.judge(rows)
        return Judged(self.text, value, reached)


def faster(least: float, *, checked: bool = False, aim: str = "") -> Goal:
    """At least `least` times the speed of the fastest other tool; `checked`: with sha256sum after it."""

    def judge(rows: Sequence[Row]) -> tuple[str, bool | None]:
        our = _rate(_ours(rows))
        chosen = [row for row in rows if row.tool != OURS and row.name.endswith(CHECKED) == checked]
        others = [(row.rate.median, row.name) for row in chosen if row.rate]
        speed, best = max(others, default=(0.0, ""))
        if our is None or not speed:
            return "nothing to compare", None
        return f"{our / speed:.2f}x {best} ({our:.4g} against {speed:.4g} MB/s)", our >= least * speed

    behind = " followed by sha256sum" if checked else ""
    return Goal(f"at least {least:g}x the speed of the fastest other tool{behind}{aim}", judge)


def leaner() -> Goal:
    """No more processor time for each GB than the leanest multi-stream tool."""

    def judge(rows: Sequence[Row]) -> tuple[str, bool | None]:
        ours = _ours(rows)
        others = [(row.cpu.median, row.name) for row in rows if row.name in _MULTI and row.cpu]
        if ours is None or ours.cpu is None or not others:
            return "nothing to compare", None
        least, name = min(others)
        return f"{ours.cpu.median:.2f} s/GB against {name}'s {least:.2f}", ours.cpu.median <= least

    return Goal("no more CPU seconds per GB than the leanest multi-stream tool", judge)


def fills(share: float, carries: float, what: str) -> Goal:
    """At least `share` of the `carries` bytes a second that `what` can carry."""

    def judge(rows: Sequence[Row]) -> tuple[str, bool | None]:
        our = _rate(_ours(rows))
        if our is None:
            return "nothing to judge", None
        return f"{our * MB / carries:.1%} ({our:.4g} of {carries / MB:.4g} MB/s)", our * MB >= share * carries

    return Goal(f"at least {share:.0%} of what {what} can carry", judge)


def reaches(megabits: float) -> Goal:
    """At least so many Mbit/s of content."""

    def judge(rows: Sequence[Row]) -> tuple[str, bool | None]:
        our = _rate(_ours(rows))
        return ("nothing to judge", None) if our is None else (f"{our * 8:.1f} Mbit/s", our * 8 >= megabits)

    return Goal(f"at least {megabits:g} Mbit/s", judge)


def saves(share: float, other: str) -> Goal:
    """So much less time than `other`, by their speeds, for that one may have been stopped before its end."""

    def judge(rows: Sequence[Row]) -> tuple[str, bool | None]:
        our, theirs = _rate(_ours(rows)), _rate(next((row for row in rows if row.name == other), None))
        if our is None or theirs is None:
            return "nothing to compare", None
        return f"{1 - theirs / our:.1%} less", 1 - theirs / our >= share

    return Goal(f"at least {share:.0%} less time than {other}", judge)


def within(label: str, megabytes: float) -> Goal:
    """No run's process `label` ever held more memory (VmHWM)."""

    def judge(rows: Sequence[Row]) -> tuple[str, bool | None]:
        peaks = {row.name: row.peaks[label] / MB for row in rows if label in row.peaks}
        if not peaks:
            return "nothing to judge", None
        told = ", ".join(f"{peak:.1f}" for peak in peaks.values())
        return f"{told} MB", max(peaks.values()) <= megabytes

    return Goal(f"peak memory of {label} at most {megabytes:g} MB", judge)


def costs(most: float | None = None) -> Goal:
    """Verification and durability add at most this share to the time; None: it is only to be told."""

    def judge(rows: Sequence[Row]) -> tuple[str, bool | None]:
        on, off = _ours(rows), next((row for row in rows if row.tool == UNCHECKED), None)
        if on is None or off is None or on.seconds is None or off.seconds is None or on.unfinished or off.unfinished:
            return "nothing to compare", None
        more = on.seconds.median / off.seconds.median - 1
        told = f"{more:+.1%} ({on.seconds.median:.2f} against {off.seconds.median:.2f} s)"
        return told, None if most is None else more <= most

    limit = "to be told" if most is None else f"at most {most:.0%} more time"
    return Goal(f"verification and durability: {limit}", judge)


def never_fails(runs: int) -> Goal:
    """Every one of `runs` runs ends with the right bytes."""

    def judge(rows: Sequence[Row]) -> tuple[str, bool | None]:
        ours = _ours(rows)
        if ours is None:
            return "nothing to judge", None
        bad = ours.failures + ours.unfinished
        return f"{bad} of {ours.runs} failed or were stopped", bad == 0 if ours.runs >= runs else None

    return Goal(f"no failure in {runs} runs", judge)


def sooner(name: str, what: str, seconds: float) -> Goal:
    """The median of `what` in the row `name` of the starts is below `seconds`."""

    def judge(rows: Sequence[Row]) -> tuple[str, bool | None]:
        spread = next((row.seconds for row in rows if row.name == f"{name}: {what}"), None)
        return ("nothing to judge", None) if spread is None else (f"{spread.median:.3f} s", spread.median < seconds)

    return Goal(f"{name}: {what} in less than {seconds:g} s", judge)


def _ours(rows: Sequence[Row]) -> Row | None:
    return next((row for row in rows if row.tool == OURS), None)


def _rate(row: Row | None) -> float | None:
    return row.rate.median if row is not None and row.rate is not None else None
