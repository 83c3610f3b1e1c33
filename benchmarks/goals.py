"""The goals of the scenarios, and whether they are reached. Pure functions of the table's rows."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

from benchmarks.stats import MB, OURS, SHA256SUM, UNVERIFIED, Row

#: The tools that use several connections for one file.
_MULTI_CONNECTION = ("axel", "aria2c", "hf_transfer")


@dataclass(frozen=True, slots=True)
class GoalResult:
    """``value`` is what was measured; ``reached`` is None if there was nothing to compare with."""

    text: str
    value: str
    reached: bool | None


@dataclass(frozen=True, slots=True)
class Goal:
    """``text`` names the goal; ``check`` returns what was measured, and whether the goal is reached."""

    text: str
    check: Callable[[Sequence[Row]], tuple[str, bool | None]]

    def evaluate(self, rows: Sequence[Row]) -> GoalResult:
        """Compare the goal with `rows`."""
        value, reached = self.check(rows)
        return GoalResult(self.text, value, reached)


def speed(least: float, *, checked: bool = False, aim: str = "") -> Goal:
    """At least `least` times the speed of the fastest other tool; `checked`: followed by sha256sum."""

    def check(rows: Sequence[Row]) -> tuple[str, bool | None]:
        our = _rate(_ours(rows))
        chosen = [row for row in rows if row.tool != OURS and row.name.endswith(SHA256SUM) == checked]
        others = [(row.rate.median, row.name) for row in chosen if row.rate]
        speed, best = max(others, default=(0.0, ""))
        if our is None or not speed:
            return "nothing to compare", None
        return f"{our / speed:.2f}x {best} ({our:.4g} against {speed:.4g} MB/s)", our >= least * speed

    suffix = " followed by sha256sum" if checked else ""
    return Goal(f"at least {least:g}x the speed of the fastest other tool{suffix}{aim}", check)


def least_cpu() -> Goal:
    """No more CPU time per GB than the best tool that uses several connections for one file."""

    def check(rows: Sequence[Row]) -> tuple[str, bool | None]:
        ours = _ours(rows)
        others = [(row.cpu.median, row.name) for row in rows if row.name in _MULTI_CONNECTION and row.cpu]
        if ours is None or ours.cpu is None or not others:
            return "nothing to compare", None
        least, name = min(others)
        return f"{ours.cpu.median:.2f} s/GB against {name}'s {least:.2f}", ours.cpu.median <= least

    return Goal("no more CPU seconds per GB than any other tool with several connections", check)


def utilization(share: float, capacity: float, what: str) -> Goal:
    """At least `share` of the `capacity` of `what`, in bytes per second."""

    def check(rows: Sequence[Row]) -> tuple[str, bool | None]:
        our = _rate(_ours(rows))
        if our is None:
            return "not measured", None
        return f"{our * MB / capacity:.1%} ({our:.4g} of {capacity / MB:.4g} MB/s)", our * MB >= share * capacity

    return Goal(f"at least {share:.0%} of the capacity of {what}", check)


def throughput(megabits: float) -> Goal:
    """At least `megabits` Mbit/s of content."""

    def check(rows: Sequence[Row]) -> tuple[str, bool | None]:
        our = _rate(_ours(rows))
        return ("not measured", None) if our is None else (f"{our * 8:.1f} Mbit/s", our * 8 >= megabits)

    return Goal(f"at least {megabits:g} Mbit/s", check)


def time_saved(share: float, other: str) -> Goal:
    """At least `share` less time than `other`, computed from the speeds, since the other tool may have been stopped."""

    def check(rows: Sequence[Row]) -> tuple[str, bool | None]:
        our, theirs = _rate(_ours(rows)), _rate(next((row for row in rows if row.name == other), None))
        if our is None or theirs is None:
            return "nothing to compare", None
        return f"{1 - theirs / our:.1%} less", 1 - theirs / our >= share

    return Goal(f"at least {share:.0%} less time than {other}", check)


def peak_memory(label: str, megabytes: float) -> Goal:
    """At most `megabytes` of peak memory (VmHWM) of the process `label`, in each run."""

    def check(rows: Sequence[Row]) -> tuple[str, bool | None]:
        peaks = {row.name: row.peaks[label] / MB for row in rows if label in row.peaks}
        if not peaks:
            return "not measured", None
        values = ", ".join(f"{peak:.1f}" for peak in peaks.values())
        return f"{values} MB", max(peaks.values()) <= megabytes

    return Goal(f"peak memory of {label} at most {megabytes:g} MB", check)


def verification_overhead(most: float | None = None) -> Goal:
    """Verification and durability add at most the share `most` to the time; None: report it only."""

    def check(rows: Sequence[Row]) -> tuple[str, bool | None]:
        on, off = _ours(rows), next((row for row in rows if row.tool == UNVERIFIED), None)
        if on is None or off is None or on.seconds is None or off.seconds is None or on.unfinished or off.unfinished:
            return "nothing to compare", None
        more = on.seconds.median / off.seconds.median - 1
        value = f"{more:+.1%} ({on.seconds.median:.2f} against {off.seconds.median:.2f} s)"
        return value, None if most is None else more <= most

    limit = "reported only" if most is None else f"at most {most:.0%} more time"
    return Goal(f"verification and durability: {limit}", check)


def no_failures(runs: int) -> Goal:
    """All of `runs` runs end with the correct content."""

    def check(rows: Sequence[Row]) -> tuple[str, bool | None]:
        ours = _ours(rows)
        if ours is None:
            return "not measured", None
        bad = ours.failures + ours.unfinished
        return f"{bad} of {ours.runs} failed or were stopped", bad == 0 if ours.runs >= runs else None

    return Goal(f"no failure in {runs} runs", check)


def startup_time(name: str, what: str, seconds: float) -> Goal:
    """The median time of the row ``name: what`` is below `seconds`."""

    def check(rows: Sequence[Row]) -> tuple[str, bool | None]:
        spread = next((row.seconds for row in rows if row.name == f"{name}: {what}"), None)
        return ("not measured", None) if spread is None else (f"{spread.median:.3f} s", spread.median < seconds)

    return Goal(f"{name}: {what} in less than {seconds:g} s", check)


def _ours(rows: Sequence[Row]) -> Row | None:
    return next((row for row in rows if row.tool == OURS), None)


def _rate(row: Row | None) -> float | None:
    return row.rate.median if row is not None and row.rate is not None else None
