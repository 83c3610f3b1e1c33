"""``spec.transfer.windows``: times of the week with their own limit. Pure.

Days with a start and an end instead of cron's five fields: a limit applies to a period, and cron describes points in
time. Local times are converted as in RFC 5545 section 3.3.5: one that the clocks skip has the offset before the change,
and one that occurs twice is the first.
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import UTC, date, datetime, time, timedelta
from itertools import pairwise
from zoneinfo import ZoneInfo

DAYS = ("Mon", "Tue", "Wed", "Thu", "Fri", "Sat", "Sun")
MAX_WINDOWS = 16


@dataclass(frozen=True, slots=True)
class Window:
    """On ``days`` (of `DAYS`), from ``begin`` to ``end`` on the clocks of ``zone`` (an IANA name); an end that is not
    after the start is on the next day. ``limit``: bytes per second, 0 for a pause."""

    begin: time
    end: time
    limit: int
    days: tuple[str, ...] = DAYS
    zone: str = "UTC"

    def __str__(self) -> str:
        return f"{_days_text(self.days)} {self.begin:%H:%M}-{self.end:%H:%M} {self.zone}"

    def occurrences(self, now: datetime, days: int) -> list[tuple[datetime, datetime]]:
        """Its occurrences as (start, end) in UTC, from yesterday to `days` days after `now`."""
        today = now.astimezone(ZoneInfo(self.zone)).date()
        dates = [today + timedelta(days=number) for number in range(-1, days + 1)]
        return [self._occurrence_on(day) for day in dates if DAYS[day.weekday()] in self.days]

    def covers(self, now: datetime) -> bool:
        """Whether it applies at `now`."""
        return any(begin <= now < end for begin, end in self.occurrences(now, 0))

    def _occurrence_on(self, day: date) -> tuple[datetime, datetime]:
        last = day if self.end > self.begin else day + timedelta(days=1)
        zone = ZoneInfo(self.zone)
        begin, end = (datetime.combine(*moment, tzinfo=zone) for moment in ((day, self.begin), (last, self.end)))
        return begin.astimezone(UTC), end.astimezone(UTC)


def window_at(windows: tuple[Window, ...], now: datetime) -> Window | None:
    """The first of `windows` that covers `now` (with a zone)."""
    return next((window for window in windows if window.covers(now)), None)


def next_change(windows: tuple[Window, ...], now: datetime) -> datetime | None:
    """When another window, or none, applies next; None if nothing changes within the next week."""
    current = window_at(windows, now)
    moments = {moment for window in windows for times in window.occurrences(now, 8) for moment in times if moment > now}
    return next((moment for moment in sorted(moments) if window_at(windows, moment) != current), None)


def _days_text(days: tuple[str, ...]) -> str:
    numbers = sorted(DAYS.index(day) for day in days)
    if len(numbers) == len(DAYS):
        return "daily"
    if len(numbers) > 2 and all(after == before + 1 for before, after in pairwise(numbers)):
        return f"{DAYS[numbers[0]]}-{DAYS[numbers[-1]]}"
    return ",".join(DAYS[number] for number in numbers)
